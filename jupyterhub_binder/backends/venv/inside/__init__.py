"""Scripts that run in the sandbox. Standard library only."""
