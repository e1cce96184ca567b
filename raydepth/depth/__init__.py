"""A depth map for every frame, from any estimator, in one convention of depth."""
