"""Runs in repo2docker's own process."""
