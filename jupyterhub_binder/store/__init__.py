"""What is kept: environments, builds, logs, launches, in SQLite or PostgreSQL."""

from jupyterhub_binder.store.store import Store

__all__ = ["Store"]
