"""Programs that write to the sample's brokers, and the run that checks what became of it."""
