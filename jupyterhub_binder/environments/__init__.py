"""Environments, previews of links, and launch specs."""
