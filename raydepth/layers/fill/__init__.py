"""Hole filling: what lies behind the near layers."""
