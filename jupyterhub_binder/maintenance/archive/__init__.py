"""Publishes which public repositories were launched, as mybinder.org does."""
