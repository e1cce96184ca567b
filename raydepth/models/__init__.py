"""How a model is named, found and opened; the built-in weights."""
