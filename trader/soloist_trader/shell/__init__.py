"""The asynchronous edge: sockets, clocks, files and threads around the pure core."""
