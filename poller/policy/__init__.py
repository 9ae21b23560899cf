"""Pure policy: decisions are values computed from values. No I/O, clock, thread, logging or randomness."""
