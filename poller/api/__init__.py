"""The HTTP side: health and metrics on Starlette."""
