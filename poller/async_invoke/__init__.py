"""Model 2, asynchronous invocation: events that wait on the disk, their attempts, and what they leave behind (B)."""
