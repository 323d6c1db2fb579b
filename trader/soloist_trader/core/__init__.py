"""The pure core: events in, commands out. Standard library only; it never waits, reads a clock or draws a number."""
