"""How layers become one picture again (step 6): compositors behind one protocol."""
