"""One call in `jupyterhub_config.py` that adds binder to a hub.

It adds to what an administrator has set and replaces nothing; which values the service and the
spawner know is written in their own help.
"""

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
from jupyterhub.spawner import LocalProcessSpawner, Spawner
from traitlets.config.loader import LazyConfigValue
from traitlets.utils.importstring import import_item

import jupyterhub_binder
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.spawner import BinderImageMixin, BinderProcessMixin, binder_spawner

CONFIG_VARIABLE = "JUPYTERHUB_BINDER_CONFIG"
"""The environment variable that hands the service its configuration: JSON, class to traits."""

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
"""What of the hub's own environment the service gets as well: certificates, proxies, indexes.

Names in any case. Without them a service behind a company's proxy builds nothing. What leads to
a Docker engine is among them, so that images are built where DockerSpawner looks for them.
"""

_SHARE = "share/jupyterhub-binder"


def configure(
    c: Any,
    *,
    backend: str = "venv",
    state_dir: str | Path = "jupyterhub-binder",
    environments_root: str | Path | None = None,
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
    """Add binder to a hub's configuration: service, scopes, roles, templates and spawner.

    At the end of ``jupyterhub_config.py``::

        from jupyterhub_binder.hubconfig import configure
        configure(c)

    Calling it again replaces what the call before it added. Settings made before the call are
    kept and added to; a setting made after it counts as any other does: ``.append`` and
    ``.extend`` add, ``=`` replaces. That is why it belongs at the end.

    `backend`
        What makes the environments: ``venv`` needs no container engine, and goes with spawners
        of local processes; ``repo2docker`` and ``binderhub`` make container images, for
        spawners that start those.
    `state_dir`
        The folder of the service's database and work; nobody else can read it. Relative to
        where the hub runs.
    `environments_root`
        The folder of the venv backend's environments, which everybody reads whose server
        starts in one. Default: beside `state_dir`, with ``-environments`` after its name.
    `spawner_class`
        What starts servers, if ``c.JupyterHub.spawner_class`` does not say it: a class, the
        name of an entry point (``simple``, ``docker``), or the path of a class
        (``kubespawner.KubeSpawner``).
        It is given the mixin that suits it; its own options stay as they are set
        (``c.DockerSpawner``, ``c.KubeSpawner``). Default: JupyterHub's own,
        ``LocalProcessSpawner``.
    `service_config`
        The service's options: ``{"VenvBackend": {"build_timeout_seconds": 3600}}``. Plain
        values only: they go to the service as JSON, in an environment variable.
    `service_environment`
        More variables for the service's process. It gets the hub's own for certificates,
        proxies and uv without being told.
    `service_name`
        The service's name, and its place: ``/services/<name>/``.
    `port`
        Where on 127.0.0.1 the hub has the service listen.
    `url`, `api_token`
        For a service that something else starts (a pod, systemd): where hub and proxy reach
        it, ``http://binder:10101``, and the token that it signs in with. Its options are then
        its own affair: `backend`, `state_dir` and `service_config` are not passed on.
    `everyone_may_build`, `build_groups`
        Who may build: everyone, or the members of these groups of the hub.
    `admin_users`, `admin_groups`
        Who sees everybody's environments and builds, besides the hub's own administrators.
    `named_servers`
        Lets people have several servers, each with an environment of its own, unless
        ``c.JupyterHub.allow_named_servers`` is set.

    Raises ConfigurationError with a sentence when the values do not go together.
    """
    if url is not None and not api_token:
        raise ConfigurationError("configure(url=...) needs api_token=..., the service's token.")
    hub = c.JupyterHub
    state = Path(state_dir).expanduser().absolute()
    root = Path(environments_root or environments_beside(state)).expanduser().absolute()

    if "allow_named_servers" not in hub:
        hub.allow_named_servers = named_servers
    _add_scopes(hub)
    _add_roles(hub, service_name, everyone_may_build, build_groups, admin_users, admin_groups)
    service = _service(service_name)
    if url is None:
        config = _service_config(hub, service_config, backend=backend, state=state, root=root)
        service |= _managed(port, config, service_environment or {})
    else:
        service |= {"url": url, "api_token": api_token}
    _put(hub, "services", service, _named(service_name))
    _add_templates(hub)
    spawner = _set_spawner(c, spawner_class, service_name, root)
    if url is None:
        _check_match(spawner, backend)


def environments_beside(state_dir: Path) -> Path:
    """Return where `configure` has environments lie for a state folder, unless it is told."""
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
    """Return what a person's visit to the service lets it do in their name."""
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
    # What became of a start that a restart of the service interrupted, with nobody there; and
    # which environments servers run in, whose images stay.
    scopes = ["read:users:name", "list:users", "read:servers"]
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
    """Let every person have these scopes, whatever else a person's role is given."""
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
    """Add the link to the pages' header; an administrator's own templates come before it."""
    beside = Path(jupyterhub_binder.__file__).resolve().parent.parent / _SHARE
    share = beside if beside.is_dir() else Path(sys.prefix) / _SHARE
    folder = str(share / "templates" / "hub")
    paths = hub.template_paths
    if not isinstance(paths, LazyConfigValue):
        _put(hub, "template_paths", folder, lambda path: path == folder)
        return
    # The hub's own templates are the default value: ours must come before those.
    before = paths.to_dict().get("prepend")
    if before is None:
        paths.prepend([folder])
    elif folder not in before:
        before.append(folder)


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
    ours = c.BinderSpawnerMixin
    ours.setdefault("binder_service_name", service)
    if "environments_root" not in ours:
        ours.environments_root = str(root)
    return made


def _check_match(spawner: type[Spawner], backend: str) -> None:
    """Refuse a spawner that could start nothing of what the backend makes, where that is known."""
    images = dict.fromkeys(("repo2docker", "binderhub", "federation"), BinderImageMixin)
    made = {"venv": BinderProcessMixin, **images}.get(backend)
    other = BinderImageMixin if made is BinderProcessMixin else BinderProcessMixin
    if made is not None and issubclass(spawner, other):
        wants = "local processes" if made is BinderProcessMixin else "containers"
        raise ConfigurationError(
            f"configure(backend={backend!r}) makes environments for spawners of {wants}; "
            f"c.JupyterHub.spawner_class is {spawner.__name__}. Choose another of the two."
        )


def _as_class(spawner: type[Spawner] | str) -> type[Spawner]:
    if not isinstance(spawner, str):
        return spawner
    found = list(entry_points(group="jupyterhub.spawners", name=spawner.lower()))
    try:
        made = found[0].load() if found else import_item(spawner)
    except ImportError as error:
        why = str(error).rstrip(".")
        raise ConfigurationError(f"There is no spawner {spawner!r}: {why}.") from error
    if not isinstance(made, type):
        raise ConfigurationError(f"There is no spawner {spawner!r}: that is no class.")
    return made


# --- Adding to lists, set or not ---------------------------------------------------------------------


def _named(name: str) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, Mapping) and item.get("name") == name


def _items(section: Any, trait: str) -> list[Any]:
    """Return what has been set or added to a list so far."""
    value = section[trait]
    return list(value.to_dict().get("extend", ())) if isinstance(value, LazyConfigValue) else value


def _put(section: Any, trait: str, item: Any, same: Callable[[Any], bool]) -> None:
    """Add an item to a list, in the place of the same one of an earlier call."""
    value = section[trait]
    # What was added to a list before it is set is a list of its own in the lazy value.
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
