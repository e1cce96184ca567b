"""What methods on Stable-Diffusion-class models share: loading, codec, sampling, attention."""
