"""Metrics of a frame as pure functions, and how rows of metrics fold into statistics."""
