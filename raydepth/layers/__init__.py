"""DeGLaD: the split of a frame into layers at depth planes, and the filling of the far layer."""
