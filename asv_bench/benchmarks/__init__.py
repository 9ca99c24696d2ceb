"""Benchmarks of fastbp: each call and its ratio to the NumPy reference, start-up, memory."""
