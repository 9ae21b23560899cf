"""Raises at import, and so it is no test's helper."""

raise ValueError("not today")
