"""The Lambda side: execution environments and the pool that hands invocations to them."""
