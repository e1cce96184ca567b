"""How the built-in models were made; never imported by the pipeline."""
