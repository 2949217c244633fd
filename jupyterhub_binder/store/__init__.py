"""Stores environments, builds, logs and launches in SQLite or PostgreSQL."""

from jupyterhub_binder.store.store import Store

__all__ = ["Store"]
