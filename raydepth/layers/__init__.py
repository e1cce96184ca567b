"""Steps 4 and 5: DeGLaD, the split of a frame into layers at depth planes, and what the near ones
hide.
"""
