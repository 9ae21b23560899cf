"""Pages about the program, and what writes their generated parts."""
