"""The backends: one module each, none of them imported before it is chosen."""
