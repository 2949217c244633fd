"""HTTP routes, JSON, event streams and pages."""
