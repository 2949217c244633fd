"""One BinderHub makes the images: the way to build on Kubernetes.

What several have in common with one is in `binderhub_base`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from traitlets import Unicode

from jupyterhub_binder.backends.binderhub_base import RemoteBackend
from jupyterhub_binder.backends.binderhub_client import Remote
from jupyterhub_binder.errors import ConfigurationError

__all__ = ["BinderHubBackend"]


class BinderHubBackend(RemoteBackend):
    """Lets one BinderHub build."""

    name: ClassVar[str] = "binderhub"
    description: ClassVar[str] = "Container images, made by repo2docker on a BinderHub."

    url = Unicode(
        help="""Where BinderHub answers, its base URL included: `http://binder/services/binder/`
        inside a cluster, `https://hub.example.org/services/binderhub/` through the hub's proxy.
        It must be in API-only mode (`BinderHub.enable_api_only_mode`). No default.""",
    ).tag(config=True)

    def _remotes(self) -> Iterable[tuple[Remote, float]]:
        if not self.url:
            raise ConfigurationError(
                "BinderHubBackend.url must be set to the address at which BinderHub answers."
            )
        yield self._remote("BinderHub", self.url, trait="BinderHubBackend.url"), 1.0
