"""Zero-shot, depth-aware image editing at the scale of whole video collections, on Ray Data."""

__version__ = "2.0.0.dev0"
