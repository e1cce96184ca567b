"""What comes from outside: storage, sidecar files, pictures, safe YAML, text."""
