"""Handlers in compiled languages, and AWS's client for Node.js, each built by containers/languages.sh."""
