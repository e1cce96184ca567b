"""Composition: compositors behind one protocol make one picture of the layers."""
