"""Handlers in compiled languages, each built by containers/languages.sh."""
