"""Step 8: what is measured on a frame, as pure functions, and how rows of metrics fold into
statistics.
"""
