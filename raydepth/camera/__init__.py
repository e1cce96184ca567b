"""Camera motion between the frames of a clip: estimated, tracked, and used to stabilise depth."""
