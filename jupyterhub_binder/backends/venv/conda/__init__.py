"""conda packages in environments of the venv backend."""
