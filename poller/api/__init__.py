"""The HTTP side: health, metrics and calls on mappings, on Starlette."""
