"""FeatGLaC: layers recomposed in the feature space of a diffusion U-Net."""
