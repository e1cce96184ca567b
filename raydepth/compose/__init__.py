"""FeatGLaC (step 6, second half): layers become one picture again, in the feature space of a diffusion U-Net."""
