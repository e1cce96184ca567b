"""``raydepth submit``: a job packed, run on a Ray cluster whose nodes need only the dependencies,
followed from here.
"""
