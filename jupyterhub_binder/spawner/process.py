"""Servers that are local processes, in venv environments."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner.folder import (
    REPLACED,
    find_key,
    folder_command,
    folder_variables,
)
from jupyterhub_binder.spawner.form import PATH_OPTION
from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin
from jupyterhub_binder.spawner.refusal import StartRefused


class BinderProcessMixin(BinderSpawnerMixin):
    """Starts venv environments as local processes."""

    def apply_environment(self, spec: LaunchSpec) -> Any:
        """Set the environment's command."""
        folder = self._environment_folder(spec)
        return self._as_command(self._command(spec, folder))

    @contextmanager
    def _as_command(self, command: list[str]) -> Any:
        before = self.cmd
        self.cmd = command
        try:
            yield
        finally:
            self.cmd = before

    def get_env(self) -> dict[str, str]:
        """Put the environment's programs first on the PATH."""
        env = super().get_env()
        spec = self.binder_spec
        if spec is None:
            return env
        folder = self._environment_folder(spec)
        for name in REPLACED:
            if name not in self.environment:
                env.pop(name, None)
        return env | folder_variables(folder, env.get("PATH") or os.defpath)

    async def _signal(self, sig: int) -> bool:
        """Send SIGTERM instead of the hub's SIGINT.

        After SIGINT during a request, Jupyter Server may live for most of a minute.
        """
        sig = signal.SIGTERM if sig == signal.SIGINT else sig
        return await super()._signal(sig)  # pyright: ignore[reportAttributeAccessIssue]

    def _environment_folder(self, spec: LaunchSpec) -> Path:
        key = find_key(spec)
        if key is None:
            raise StartRefused(
                "This hub starts local processes, but the environment is a container image. "
                "Build it again, or ask an administrator.",
                reason="configuration",
            )
        if not self.environments_root:
            raise StartRefused(
                "An administrator must set BinderSpawnerMixin.environments_root.",
                reason="configuration",
            )
        folder = Path(self.environments_root) / key
        if not (folder / "bin" / "jupyterhub-singleuser").is_file():
            raise self.environment_refusal(
                f"The files of {spec.environment_name} are no longer on this machine. Build "
                "it again",
                reason="environment",
                page=f"environments/{spec.environment_id}",
            )
        return folder

    def _command(self, spec: LaunchSpec, folder: Path) -> list[str]:
        return folder_command(
            self.cmd,
            spec,
            folder,
            path=self.user_options.get(PATH_OPTION),
            limits=self.content_limits(),
            run_start=self.binder_run_start,
        )


class BinderLocalSpawner(BinderProcessMixin, LocalProcessSpawner):
    """Starts environments in each user's system account."""


class BinderSimpleSpawner(BinderProcessMixin, SimpleLocalProcessSpawner):
    """Starts environments in the hub's own account; for trying things out."""
