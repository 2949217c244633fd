"""The `venv` backend: environments as folders, made by uv."""
