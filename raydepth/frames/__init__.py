"""Frames: probes sources, plans segments at keyframes, decodes them into micro-batches."""
