"""Builds on one BinderHub, for Kubernetes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from traitlets import Unicode

from jupyterhub_binder.backends.binderhub.base import RemoteBackend
from jupyterhub_binder.backends.binderhub.client import BinderHubRemote
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model.text import Message

__all__ = ["BinderHubBackend"]


class BinderHubBackend(RemoteBackend):
    """Builds on one BinderHub."""

    name: ClassVar[str] = "binderhub"
    description: ClassVar[str] = Message("Container images, made by repo2docker on a BinderHub.")

    url = Unicode(
        help="""
        URL of BinderHub, including its base URL: `http://binder/services/binder/` inside a cluster,
        or `https://hub.example.org/services/binderhub/` through the hub's proxy. BinderHub must be
        in API-only mode (`BinderHub.enable_api_only_mode`). No default.
        """,
    ).tag(config=True)

    def _remotes(self) -> Iterable[tuple[BinderHubRemote, float]]:
        if not self.url:
            raise ConfigurationError("Set BinderHubBackend.url to the address of BinderHub.")
        yield self._remote("BinderHub", self.url, trait="BinderHubBackend.url"), 1.0
