"""The Python face: loading patterns, calling them as operators, dispatch to backends, the disk cache, tracing of Python functions."""
