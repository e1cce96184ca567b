"""Things: masks of objects over a shot, each a layer of its own with one depth a frame."""
