"""Relighting: layers that were taken under another light are adapted to the scene's."""
