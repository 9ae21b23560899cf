"""Whether a function may get the same event twice: invoked so, and compared."""
