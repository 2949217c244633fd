"""Stands before an optional part of jsonschema on a smoke test's path, and is not there.

The real one compiles a grammar whenever it is imported: most of the time that
`jupyterhub-singleuser` takes to say its version.
"""

raise ImportError("left out of the smoke test")
