"""What unpacks conda packages, in the sandbox or in a pod."""
