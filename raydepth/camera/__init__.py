"""Motion between the frames of a clip: what a still camera allows, and what a moving one asks for."""
