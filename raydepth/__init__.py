"""Zero-shot, depth-aware image editing at the scale of whole video collections, on Ray Data."""

__version__ = "0.1.0"
