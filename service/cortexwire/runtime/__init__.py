"""The shell around the pipeline: sockets, clocks, shared memory, control."""
