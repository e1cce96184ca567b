"""The report: ``report.json``, figures, pictures, and one page that opens from disk."""
