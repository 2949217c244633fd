"""From a pasted link to files on a disk."""
