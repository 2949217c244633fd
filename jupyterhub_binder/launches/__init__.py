"""Launches: users start servers in environments."""
