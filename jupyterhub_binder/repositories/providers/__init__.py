"""One module per kind of host, and the registry."""
