"""Layers that come from under another light are brought into the scene's."""
