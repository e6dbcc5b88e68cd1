"""The eager backend: PyTorch operators, any device, float64 for float64. See `interpreter`."""
