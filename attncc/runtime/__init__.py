"""The Python face: loading patterns, calling them as operators, dispatch to backends, tracing of Python functions."""
