"""The configuration of the demo's hub. A site needs only the call of `configure` at the end."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from pathlib import Path

from jupyterhub_binder.demo.containers import CONTAINERS, FOLDERS, LABEL, ContainerSettings
from jupyterhub_binder.demo.hub import MARK
from jupyterhub_binder.demo.state import ADMIN, DemoState
from jupyterhub_binder.hubconfig import configure

c = get_config()  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

told = os.environ.get(f"{MARK}_CONTAINERS")
containers = ContainerSettings.from_json(told) if told else None
backend = CONTAINERS if containers else FOLDERS
state = DemoState.load(Path(os.environ[MARK]), backend=backend)
port, hub_port, proxy_port, service_port = os.environ[f"{MARK}_PORTS"].split(",")


def _end_with_the_demonstration() -> None:
    """End the hub when the demo's pipe closes."""
    while os.read(0, 1):
        pass
    # Without a handler, the hub would end at once and leave its proxy and service behind.
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=_end_with_the_demonstration, daemon=True).start()

# --- The hub, on this machine alone -------------------------------------------------------------

c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/"
hub_ip = containers.hub_ip if containers else "127.0.0.1"
c.JupyterHub.hub_bind_url = f"http://{hub_ip}:{hub_port}/"
c.JupyterHub.db_url = f"sqlite:///{state.hub / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state.hub / "cookie_secret")
c.JupyterHub.allow_named_servers = True
c.JupyterHub.cleanup_servers = True

# --- A proxy that needs no Node.js --------------------------------------------------------------

c.JupyterHub.proxy_class = "traefik_file"
c.TraefikProxy.traefik_api_url = f"http://127.0.0.1:{proxy_port}"
c.TraefikProxy.traefik_api_username = "hub"
c.TraefikProxy.traefik_api_password = secrets.token_urlsafe(24)
c.TraefikFileProviderProxy.static_config_file = str(state.hub / "traefik.toml")
c.TraefikFileProviderProxy.dynamic_config_file = str(state.hub / "traefik-rules.toml")

# --- People: any name, one password --------------------------------------------------------------

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = state.password
c.SharedPasswordAuthenticator.admin_password = state.admin_password
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {ADMIN}

# --- Servers: containers, or processes of the demo's user ----------------------------------------

if containers:
    c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
    c.DockerSpawner.prefix = containers.name
    c.DockerSpawner.volumes = {f"{containers.name}-{{username}}": "/home/jovyan"}
    c.DockerSpawner.extra_create_kwargs = {"labels": {LABEL: containers.name}}
    c.DockerSpawner.remove = True
    c.Spawner.hub_connect_url = f"http://{containers.hub_name}:{hub_port}"
    c.Spawner.start_timeout = 600  # a start without an environment may pull an image
else:
    c.SimpleLocalProcessSpawner.home_dir_template = str(state.homes / "{username}")
    c.Spawner.environment = {MARK: str(state.folder)}
    # JupyterHub would wait longer for a server that hangs.
    c.LocalProcessSpawner.interrupt_timeout = 10
    c.LocalProcessSpawner.term_timeout = 5
    c.Spawner.args = ["--allow-root"] if os.getuid() == 0 else []

# --- Binder ---------------------------------------------------------------------------------------

images = (
    {
        "buildpack": "debian",
        "base_image": containers.base_image,
        "image_prefix": f"{containers.name}/",
        "work_dir": str(state.service / "repo2docker"),
    }
    if containers
    else {}
)

configure(
    c,
    backend=backend,
    state_dir=state.service,
    environments_root=state.environments,
    spawner_class="binder-docker" if containers else "simple",
    port=int(service_port),
    service_environment={MARK: str(state.folder)},
    service_config={
        "JupyterHubBinder": {
            "example_url": state.example_url,
            "example_name": "a year of daylight",
        },
        "Repo2DockerBackend": images,
        # The example is on this machine; other repositories use https as usual.
        "Git": {"protocols": ["https", "file"], "file_roots": [str(state.repositories)]},
    },
)
