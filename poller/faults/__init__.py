"""Faults on purpose: what a function, an event source or a destination does wrong because the settings say so."""
