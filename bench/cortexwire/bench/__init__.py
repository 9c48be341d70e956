"""Measurements: kernels, latency, load."""
