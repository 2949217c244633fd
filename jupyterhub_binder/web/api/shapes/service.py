"""The JSON objects about the service itself; see `shapes`."""

from __future__ import annotations

from jupyterhub_binder.environments.service import Limit
from jupyterhub_binder.web.api.shapes import shape


@shape
class UserJSON:
    """The person who asks."""

    name: str
    admin: bool
    groups: tuple[str, ...]


@shape
class PermissionsJSON:
    """What the person may do."""

    build: bool
    admin: bool


@shape
class LimitsJSON:
    """The person's limits."""

    environments: Limit
    builds: Limit


@shape
class BackendNameJSON:
    """What makes the builds."""

    name: str
    description: str
    health: str | None
    """What is wrong; null if builds work now"""


@shape
class ProviderJSON:
    """A kind of host of repositories."""

    prefix: str
    name: str
    placeholder: str
    default_ref: str


@shape
class HubJSON:
    """The hub."""

    url: str
    named_servers: bool


@shape
class InfoJSON:
    """Who asks, what they may do, and what the service offers."""

    version: str
    user: UserJSON
    permissions: PermissionsJSON
    limits: LimitsJSON
    backend: BackendNameJSON
    providers: tuple[ProviderJSON, ...]
    hub: HubJSON
    drain: str | None
    """Why builds are paused; null if they are not"""


@shape
class CheckJSON:
    """One check of the service's health."""

    service: str
    ok: bool
    message: str | None


@shape
class HealthJSON:
    """Whether the service works."""

    ok: bool
    draining: bool
    """Whether an administrator has paused builds"""
    checks: tuple[CheckJSON, ...]


@shape
class BuilderInfoJSON:
    """What a BinderHub client looks for."""

    name: str


@shape
class VersionsJSON:
    """Which versions run."""

    jupyterhub_binder: str
    jupyterhub: str
    builder: str
    binderhub: str
    builder_info: BuilderInfoJSON
