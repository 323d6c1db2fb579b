"""What we want to be there: pure builders, one kind per function. The same arguments give the same object."""
