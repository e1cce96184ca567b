"""Edits: each turns a batch of frames into a layer stack and a region that may change."""
