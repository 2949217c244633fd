"""A REST client."""

from jupyterhub_binder.client.client import ApiError, BinderClient, Unreachable

__all__ = ["ApiError", "BinderClient", "Unreachable"]
