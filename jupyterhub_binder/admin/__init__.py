"""Rules, limits, draining and the audit log."""
