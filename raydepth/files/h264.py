"""How H.264 is encoded to the same bytes every time, by whoever writes a video."""

SAME_BYTES = {"x264-params": "cpu-independent=1"}
"""Options of PyAV's libx264.

Its AVX-512 code of the macroblock tree gives other bits from run to run (64 x 48 pixels: 18 files
out of 200 encodings of the same frames; one file with this, which is for the same bits on every
processor).
"""
