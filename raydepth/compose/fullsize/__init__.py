"""Full-size results: edits made at working size are carried to the source's own pixels."""
