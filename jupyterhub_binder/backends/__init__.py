"""What makes images; `base` is the contract, every other module is one way to meet it."""
