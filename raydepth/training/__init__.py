"""How the built-in models were made; beside the flow, and never imported by it."""
