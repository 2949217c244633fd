"""Benchmarks: what the service costs, measured with real processes on 127.0.0.1."""
