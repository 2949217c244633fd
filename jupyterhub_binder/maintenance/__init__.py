"""Clean-up, retention and health."""
