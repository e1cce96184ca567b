"""What comes from outside: local paths and object storage, sidecar files, pictures, safe YAML,
text.
"""
