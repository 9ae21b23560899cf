"""Dead letters after they were written: listed, shown, redriven to where their records came from, purged."""
