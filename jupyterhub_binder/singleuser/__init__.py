"""Runs in the person's server. Standard library only."""
