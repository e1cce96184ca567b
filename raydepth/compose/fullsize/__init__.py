"""Full-size results (step 7): what was edited at working size is carried to the source's own
pixels.
"""
