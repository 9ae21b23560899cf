"""Inputs that nobody sends on purpose: whatever they are, there is a clear answer, no traceback, no hang."""
