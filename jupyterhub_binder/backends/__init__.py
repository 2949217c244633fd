"""What makes images; `base` is the contract, every other module is one way to meet it.

Which ones are installed is `installed`'s to say.
"""
