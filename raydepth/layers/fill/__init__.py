"""What lies behind the near layers (step 5)."""
