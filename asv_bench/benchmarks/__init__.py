"""Benchmarks of fastbp: each kernel beside the NumPy reference, start-up, memory."""
