"""Counters, and `/metrics`."""
