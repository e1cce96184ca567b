"""Step 3: a depth map for every frame, whatever gives it, in the one depth convention of the
project.
"""
