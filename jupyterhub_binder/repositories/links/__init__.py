"""Understands pasted links, specs and other hubs' URLs."""
