"""What any method on a Stable-Diffusion-class model needs: codec, loading, schedules, sampling,
attention.
"""
