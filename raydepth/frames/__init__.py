"""Steps 1 and 2: probe videos and folders of images, plan keyframe segments, decode segments into
micro-batches.
"""
