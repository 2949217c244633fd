"""Hides an optional part of jsonschema, which halves the time of a smoke test.

The real module compiles a grammar at import, which `jupyterhub-singleuser --version` does not need.
"""

raise ImportError("left out of the smoke test")
