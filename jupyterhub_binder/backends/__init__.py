"""Build backends. `base` is the contract; `installed` finds the implementations."""
