"""Adds jupyterhub-binder to a hub in `jupyterhub_config.py`, without replacing settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jupyterhub
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner, Spawner
from traitlets.config.loader import LazyConfigValue
from traitlets.log import get_logger
from traitlets.utils.importstring import import_item

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.spawner import BinderImageMixin, BinderProcessMixin, binder_spawner
from jupyterhub_binder.spawner.profiles import ROUTE, ProfilesHandler
from jupyterhub_binder.spawner.running import binder_running
from jupyterhub_binder.utils.share import share_folder

CONFIG_VARIABLE = "JUPYTERHUB_BINDER_CONFIG"
"""Holds the service's configuration as JSON, class to traits."""

CHART_ROOT = Path("/srv/jupyterhub-binder/environments")
"""Where the chart mounts the volume of environments, in the service and in servers."""

CUSTOM_SCOPES = {
    "custom:binder:build": {"description": "Build environments from repositories."},
    "custom:binder:admin": {"description": "See and manage everybody's environments and builds."},
}

PASSED = (
    "DOCKER_*",
    "SSL_CERT_*",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "UV_*",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
)
"""Patterns of the hub's variables for the service, in any case.

The Docker variables make it build in DockerSpawner's engine.
"""

SERVICE_SECTIONS = frozenset(
    [
        "Alerts",
        "Archive",
        "Audit",
        "AutoUpdates",
        "BuildPods",
        "Builds",
        "Cleanup",
        "CondaChannels",
        "Departures",
        "Detections",
        "Downloads",
        "Environments",
        "Featured",
        "Fetcher",
        "Git",
        "Hooks",
        "HubClient",
        "JupyterHubBinder",
        "LaunchReports",
        "Launches",
        "Limits",
        "Mirrors",
        "Prebuilds",
        "Previews",
        "Providers",
        "Registry",
        "Retention",
        "Rules",
        "Transfers",
        "Upstreams",
        "UsageReports",
    ]
)
"""The service's classes with options, besides backends and providers; no class of the hub."""


def configure(
    c: Any,
    *,
    backend: str = "venv",
    state_dir: str | Path = "jupyterhub-binder",
    environments_root: str | Path | None = None,
    environments_claim: str = "",
    spawner_class: type[Spawner] | str | None = None,
    service_config: Mapping[str, Mapping[str, Any]] | None = None,
    service_environment: Mapping[str, str] | None = None,
    service_name: str = "binder",
    port: int = 10101,
    url: str | None = None,
    api_token: str | None = None,
    everyone_may_build: bool = True,
    build_groups: Iterable[str] = (),
    admin_users: Iterable[str] = (),
    admin_groups: Iterable[str] = (),
    named_servers: bool = True,
) -> None:
    """Add jupyterhub-binder to a hub: service, scopes, roles, templates and spawner.

    Call it at the end of ``jupyterhub_config.py``::

        from jupyterhub_binder.hubconfig import configure
        configure(c)

    It keeps earlier settings. After the call, use ``.append`` and ``.extend``; ``=`` replaces a
    setting. A second call replaces the first one's additions.

    `backend`
        ``venv`` builds for spawners of local processes, ``repo2docker`` and ``binderhub`` for
        spawners of containers. ``auto`` gives each repository to the first of
        ``AutoBackend.backends`` that can serve it and whose environments the spawner can start.
    `state_dir`
        The folder of the service, readable only by it. Relative to the hub's working directory.
    `environments_root`
        The folder of venv environments, readable by everyone who starts servers. Default: `state_dir`
        with ``-environments`` appended; with `environments_claim`, where the chart mounts it.
    `environments_claim`
        On Kubernetes: the PersistentVolumeClaim with environments that are folders, which the chart
        makes with ``builder.type: folders``.
    `spawner_class`
        Used if ``c.JupyterHub.spawner_class`` is not set: a class, an entry point (``docker``) or an
        import path (``kubespawner.KubeSpawner``). The matching mixin is added. Default:
        ``LocalProcessSpawner``.
    `service_config`
        Options of the service: ``{"VenvBackend": {"build_timeout_seconds": 3600}}``. Values must be
        JSON.
    `service_environment`
        More variables for the service, besides the hub's for certificates, proxies and uv.
    `service_name`
        The pages are at ``/services/<name>/``.
    `port`
        The service's port on 127.0.0.1.
    `url`, `api_token`
        For a service that the hub does not start: its URL for hub and proxy, and its token. Configure
        that service itself: `backend`, `state_dir` and `service_config` are not passed on.
    `everyone_may_build`, `build_groups`
        Who may build: everyone, or members of these hub groups.
    `admin_users`, `admin_groups`
        Who can manage everyone's environments and builds, besides hub admins.
    `named_servers`
        Allow several servers per person. Ignored if ``c.JupyterHub.allow_named_servers`` is set.

    Servers get 120 seconds for their first answer, unless ``c.Spawner.http_timeout`` is set.

    At its start the hub waits 30 seconds for the service's first answer. JupyterHub 6 takes a longer
    time after the call: ``c.JupyterHub.services[-1]["timeout"] = 120``.

    Raises ConfigurationError if the values do not fit together.
    """
    if url is not None and not api_token:
        raise ConfigurationError(
            "configure(url=...) needs api_token=..., the token of the service."
        )
    _warn_of_service_options(c)
    hub = c.JupyterHub
    state = Path(state_dir).expanduser().absolute()
    usual = CHART_ROOT if environments_claim else environments_beside(state)
    root = Path(environments_root or usual).expanduser().absolute()

    if "allow_named_servers" not in hub:
        hub.allow_named_servers = named_servers
    _add_scopes(hub)
    _add_roles(hub, service_name, everyone_may_build, build_groups, admin_users, admin_groups)
    service = _service(service_name)
    spawner = _set_spawner(c, spawner_class, service_name, root)
    if url is None:
        config = _service_config(hub, service_config, backend=backend, state=state, root=root)
        mounts = backend == "auto" and issubclass(spawner, BinderImageMixin)
        cannot_write = mounts or _runs_as_others(spawner)
        config["VenvBackend"].setdefault("servers_cannot_write", cannot_write)
        if backend == "auto":
            kinds = _startable(spawner, claim=bool(environments_claim))
            config.setdefault("AutoBackend", {}).setdefault("startable", kinds)
        service |= _managed(port, config, service_environment or {})
    else:
        service |= {"url": url, "api_token": api_token}
    _put(hub, "services", service, _named(service_name))
    _add_templates(hub)
    _add_template_variables(hub)
    if hasattr(spawner, "offered_profiles"):
        # The hub warns that such handlers are deprecated: a service should answer instead. But no
        # service can ask a spawner's `profile_list`, so this one is in the hub.
        _put(hub, "extra_handlers", (ROUTE, ProfilesHandler), lambda item: item[0] == ROUTE)
    if environments_claim:
        c.BinderKubeMixin.setdefault("binder_environments_claim", environments_claim)
    if url is None:
        _check_match(spawner, backend)


def _warn_of_service_options(c: Any) -> None:
    """Name options that only the service reads."""
    groups = ("jupyterhub_binder.backends", "jupyterhub_binder.providers")
    installed = {each.attr for group in groups for each in entry_points(group=group)}
    for name in sorted((SERVICE_SECTIONS | installed) & {key for key in c if c[key]}):
        get_logger().warning(
            "c.%s has no effect in the hub's configuration, because the service reads it. Move it to "
            "jupyterhub_binder_config.py, or to configure(service_config=...).",
            name,
        )


def environments_beside(state_dir: Path) -> Path:
    """Return the default `environments_root`."""
    return state_dir.with_name(f"{state_dir.name}-environments")


# --- Service -----------------------------------------------------------------------------------------


def _service(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "display": True,
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": _scopes_of_sessions(name),
    }


def _managed(
    port: int, config: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "url": f"http://127.0.0.1:{port}",
        "command": [sys.executable, "-m", "jupyterhub_binder.app"],
        "environment": {
            **_passed_environment(),
            **environment,
            CONFIG_VARIABLE: _json(config),
        },
    }


def _passed_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in PASSED)
    }


def _scopes_of_sessions(name: str) -> list[str]:
    """Return the scopes from signed-in people."""
    servers = ["read:servers!user", "start:servers!user", "delete:servers!user"]
    if jupyterhub.version_info < (6,):
        servers = ["servers!user"]
    return [
        *CUSTOM_SCOPES,
        f"access:services!service={name}",
        "read:users:name!user",
        "read:users:groups!user",
        *servers,
    ]


def _service_config(
    hub: Any,
    config: Mapping[str, Mapping[str, Any]] | None,
    *,
    backend: str,
    state: Path,
    root: Path,
) -> dict[str, dict[str, Any]]:
    ours = {
        "JupyterHubBinder": {
            "backend": backend,
            "state_dir": str(state),
            "named_servers": bool(hub.allow_named_servers),
            "trusted_downstream_ips": list(_items(hub, "trusted_downstream_ips")),
        },
        "VenvBackend": {"environments_root": str(root)},
    }
    for section, values in (config or {}).items():
        ours.setdefault(section, {}).update(values)
    return ours


def _json(config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(config, sort_keys=True)
    except TypeError as error:
        raise ConfigurationError(f"configure(service_config=...): {error}.") from error


# --- Scopes and roles --------------------------------------------------------------------------------


def _add_scopes(hub: Any) -> None:
    scopes = hub.custom_scopes
    if isinstance(scopes, LazyConfigValue):
        scopes.update(CUSTOM_SCOPES)
    else:
        hub.custom_scopes = {**scopes, **CUSTOM_SCOPES}


def _add_roles(
    hub: Any,
    service: str,
    everyone_may_build: bool,
    build_groups: Iterable[str],
    admin_users: Iterable[str],
    admin_groups: Iterable[str],
) -> None:
    # These scopes show how a start ended during a restart of the service, and which environments
    # servers use, so that their images stay. delete:servers stops the servers of a person who is
    # banned. read:hub shows the hub's versions to administrators.
    scopes = ["read:users:name", "list:users", "read:servers", "delete:servers", "read:hub"]
    _put_role(hub, {"name": f"{service}-service", "scopes": scopes, "services": [service]})
    _add_user_scopes(
        hub,
        [f"access:services!service={service}"]
        + (["custom:binder:build"] if everyone_may_build else []),
    )
    if build_groups:
        groups = {"scopes": ["custom:binder:build"], "groups": list(build_groups)}
        _put_role(hub, {"name": f"{service}-builders", **groups})
    if admin_users or admin_groups:
        who = {"users": list(admin_users), "groups": list(admin_groups)}
        scopes = ["custom:binder:admin", "custom:binder:build"]
        _put_role(hub, {"name": f"{service}-admins", "scopes": scopes, **who})


def _put_role(hub: Any, role: dict[str, Any]) -> None:
    _put(hub, "load_roles", role, _named(role["name"]))


def _add_user_scopes(hub: Any, scopes: list[str]) -> None:
    """Add scopes to every user's."""
    role = next((r for r in _items(hub, "load_roles") if r.get("name") == "user"), None)
    if role is None and jupyterhub.version_info >= (6,):
        extra = hub.extra_user_scopes
        if isinstance(extra, LazyConfigValue):
            extra.update(set(scopes))
        else:
            hub.extra_user_scopes = {*extra, *scopes}
        return
    before = role or {"name": "user", "scopes": ["self"]}
    known = before.get("scopes", ["self"])
    merged = {**before, "scopes": [*known, *(s for s in scopes if s not in known)]}
    _put(hub, "load_roles", merged, _named("user"))


# --- Templates ---------------------------------------------------------------------------------------


def _add_templates(hub: Any) -> None:
    """Add our templates after the administrator's."""
    folder = str(share_folder() / "templates" / "hub")
    paths = hub.template_paths
    if not isinstance(paths, LazyConfigValue):
        _put(hub, "template_paths", folder, lambda path: path == folder)
        return
    # The hub's templates are the default value. Ours must come before them.
    before = paths.to_dict().get("prepend")
    if before is None:
        paths.prepend([folder])
    elif folder not in before:
        before.append(folder)


def _add_template_variables(hub: Any) -> None:
    """Let the home page say which environments run."""
    ours = {"binder_running": binder_running}
    known = hub.template_vars
    if isinstance(known, LazyConfigValue):
        known.update(ours)
    else:
        hub.template_vars = {**known, **ours}


# --- Spawner -----------------------------------------------------------------------------------------


def _set_spawner(
    c: Any, spawner_class: type[Spawner] | str | None, service: str, root: Path
) -> type[Spawner]:
    chosen = c.JupyterHub.get("spawner_class")
    if chosen is None or isinstance(chosen, LazyConfigValue):
        chosen = spawner_class or LocalProcessSpawner
    try:
        made = c.JupyterHub.spawner_class = binder_spawner(_as_class(chosen))
    except TypeError as error:
        raise ConfigurationError(f"c.JupyterHub.spawner_class: {error}") from error
    # A first start reads thousands of files of a new environment from a cold disk.
    c.Spawner.setdefault("http_timeout", 120)
    ours = c.BinderSpawnerMixin
    ours.setdefault("binder_service_name", service)
    if "environments_root" not in ours:
        ours.environments_root = str(root)
    return made


def _runs_as_others(spawner: type[Spawner]) -> bool:
    """Whether servers run as system users, while the service runs as the hub's root."""
    # A subclass may start servers as anybody: its administrator must say so.
    local = [base for base in spawner.__mro__ if issubclass(base, LocalProcessSpawner)]
    known = all(base.__module__.partition(".")[0] == "jupyterhub_binder" for base in local[:-1])
    return (
        bool(local)
        and known
        and not issubclass(spawner, SimpleLocalProcessSpawner)
        and os.geteuid() == 0
    )


def _startable(spawner: type[Spawner], *, claim: bool) -> list[str]:
    """Return the kinds of environments that a spawner can start, as `AutoBackend.startable`."""
    if issubclass(spawner, BinderProcessMixin):
        return ["folder"]
    on_kubernetes = hasattr(spawner, "binder_environments_claim")
    mounts = claim if on_kubernetes else hasattr(spawner, "binder_environments_host_root")
    return ["folder", "image"] if mounts or not issubclass(spawner, BinderImageMixin) else ["image"]


def _check_match(spawner: type[Spawner], backend: str) -> None:
    """Refuse a spawner that can't start the backend's environments."""
    images = dict.fromkeys(("repo2docker", "binderhub", "federation"), BinderImageMixin)
    made = {"venv": BinderProcessMixin, **images}.get(backend)
    other = BinderImageMixin if made is BinderProcessMixin else BinderProcessMixin
    if made is not None and issubclass(spawner, other):
        wants = "local processes" if made is BinderProcessMixin else "containers"
        raise ConfigurationError(
            f"configure(backend={backend!r}) needs a spawner of {wants}, but "
            f"c.JupyterHub.spawner_class is {spawner.__name__}. Change one of them."
        )


def _as_class(spawner: type[Spawner] | str) -> type[Spawner]:
    if not isinstance(spawner, str):
        return spawner
    found = list(entry_points(group="jupyterhub.spawners", name=spawner.lower()))
    try:
        made = found[0].load() if found else import_item(spawner)
    except ImportError as error:
        why = str(error).rstrip(".")
        raise ConfigurationError(f"The spawner {spawner!r} can't be imported: {why}.") from error
    if not isinstance(made, type):
        raise ConfigurationError(f"The spawner {spawner!r} is not a class.")
    return made


# --- Adding to lists, set or not ---------------------------------------------------------------------


def _named(name: str) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, Mapping) and item.get("name") == name


def _items(section: Any, trait: str) -> list[Any]:
    """Return the items so far."""
    value = section[trait]
    return list(value.to_dict().get("extend", ())) if isinstance(value, LazyConfigValue) else value


def _put(section: Any, trait: str, item: Any, same: Callable[[Any], bool]) -> None:
    """Add an item, or replace an earlier call's."""
    value = section[trait]
    # A lazy value keeps the added items in a list of its own.
    lazy = isinstance(value, LazyConfigValue)
    target: list[Any] = value.to_dict().get("extend", []) if lazy else value
    for index, present in enumerate(target):
        if same(present):
            target[index] = item
            return
    if lazy:
        value.append(item)
    else:
        section[trait] = [*value, item]
