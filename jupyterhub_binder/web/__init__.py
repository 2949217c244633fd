"""The service's face: HTTP routes, JSON, event streams and pages. Holds no rules of its own."""
