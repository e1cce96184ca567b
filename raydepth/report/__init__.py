"""The end of the way: statistics and a few pictures become ``report.json``, figures and one page
that opens from disk.
"""
