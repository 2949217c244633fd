"""Servers in containers, for spawners with an `image` trait."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from jupyterhub.utils import fmt_ip_url
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from traitlets import Unicode

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner.command import (
    PROGRAM,
    REPO_DIR,
    RUN_CONTENT,
    content_arguments,
    wrap,
)
from jupyterhub_binder.spawner.ended import EndedServer, explain_end, find_cause
from jupyterhub_binder.spawner.folder import folder_command, folder_variables
from jupyterhub_binder.spawner.form import PATH_OPTION
from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin
from jupyterhub_binder.spawner.refusal import StartRefused

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*")
_LOCAL = "venv:"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOOK_SECONDS = 0.5
_MARGIN_SECONDS = 5
"""Of `start_timeout`; after that the hub gives up."""
BRING = (
    "command -v python3 >/dev/null 2>&1 || { "
    'echo "jupyterhub-binder: the image has no python3, so no files are copied" >&2; '
    'until [ "$1" = -- ]; do shift; done; shift; exec "$@"; }; '
    'exec python3 -I -c "$0" "$@"'
)
"""Without Python in the image, the server starts without files."""


class BinderImageMixin(BinderSpawnerMixin):
    """Starts container images through `image` and `cmd`."""

    binder_repo_dir = Unicode(
        "/srv/repo",
        config=True,
        help="""
        The folder in images that holds the repository's files, outside the home directory. Default:
        `/srv/repo`.

        A mounted home directory hides the files that an image has in its own. Build with
        `--target-repo-dir=/srv/repo`: the repo2docker backend does this; for BinderHub, set
        `KubernetesBuildExecutor.repo2docker_extra_args`. If an image has no such folder, its
        variable REPO_DIR is used.
        """,
    )

    binder_environments_image = Unicode(
        config=True,
        help="""
        The image for servers of environments that are folders. It must have the same interpreters
        as the service, at the same paths: on Kubernetes, build it with helm/images/singleuser.
        Default: the spawner's own image, on Kubernetes also the one of the profile.
        """,
    )

    _binder_before: dict[str, Any] | None = None

    def mounted_folder(self, spec: LaunchSpec) -> Path | None:
        """Return the folder of an environment that servers mount; None if it is an image.

        Raises StartRefused if this spawner can't mount folders.
        """
        return None

    def apply_environment(self, spec: LaunchSpec) -> AbstractContextManager[None]:
        """Set image and command until the server ends."""
        return self._with_image(spec)

    @contextmanager
    def _with_image(self, spec: LaunchSpec) -> Iterator[None]:
        self.override(image=self.image_of(spec), cmd=self.command_of(spec))
        yield

    async def _begin(self) -> Any:
        """Start the server. Raises StartRefused if it ends before it answers."""
        spec = self.binder_spec
        if spec is None:
            return await super()._begin()
        before = await self.find_ended()
        starting = asyncio.ensure_future(super()._begin())
        deadline = time.monotonic() + self.start_timeout - _MARGIN_SECONDS
        try:
            while time.monotonic() < deadline:
                await asyncio.wait({starting}, timeout=_LOOK_SECONDS)
                if starting.done() and await self._answers(starting.result()):
                    break
                ended = await self.find_ended()
                if ended and (before is None or ended.which != before.which):
                    raise self._cannot_start(spec, explain_end(ended.said))
                await asyncio.sleep(_LOOK_SECONDS)
            return await starting
        except StartRefused:
            raise
        except Exception as error:
            # An engine that can't run the command names it.
            if cause := find_cause(str(error)):
                raise self._cannot_start(spec, cause) from error
            raise
        finally:
            starting.cancel()

    async def find_ended(self) -> EndedServer | None:
        """Return the server's container if it has ended, else None."""
        return None

    def _cannot_start(self, spec: LaunchSpec, why: str) -> StartRefused:
        what = "image" if self.mounted_folder(spec) is None else "folder"
        return self.environment_refusal(
            f"No server can start from the {what} of {spec.environment_name}: {why}",
            reason="image",
            page=f"environments/{spec.environment_id}",
        )

    async def _answers(self, started: Any) -> bool:
        """Whether there is any answer where the server was started."""
        if not started or self.internal_ssl:
            return True  # the hub itself waits
        if not isinstance(started, str):
            started = f"http://{fmt_ip_url(started[0])}:{started[1]}"
        fetch = AsyncHTTPClient().fetch(
            started, raise_error=False, request_timeout=2, follow_redirects=False
        )
        with suppress(HTTPClientError, OSError):
            await fetch
            return True
        return False

    def image_of(self, spec: LaunchSpec) -> str:
        """Return the environment's image, or the one for folders. Raises StartRefused."""
        if self.mounted_folder(spec) is not None:
            return self.binder_environments_image or cast("Any", self).image
        image = spec.image or ""
        if image.startswith(_LOCAL) or not _REFERENCE.fullmatch(image):
            raise StartRefused(
                "This hub starts containers, but the environment is not a container image. "
                "Build it again, or ask an administrator.",
                reason="configuration",
            )
        return image

    def command_of(self, spec: LaunchSpec) -> list[str]:
        """Return the command."""
        path = self.user_options.get(PATH_OPTION)
        if folder := self.mounted_folder(spec):
            return folder_command(
                self.cmd,
                spec,
                folder,
                path=path,
                limits=self.content_limits(),
                run_start=self.binder_run_start,
            )
        sources = [self.binder_repo_dir, REPO_DIR]
        arguments = content_arguments(spec, sources, path=path, limits=self.content_limits())
        return wrap(self.cmd, bring=["sh", "-c", BRING, RUN_CONTENT, *arguments], program=PROGRAM)

    def environment_variables(self, spec: LaunchSpec) -> dict[str, str]:
        """Add a folder's programs to the PATH."""
        known = super().environment_variables(spec)
        if folder := self.mounted_folder(spec):
            theirs = self.environment.get("PATH")
            known |= folder_variables(folder, theirs if isinstance(theirs, str) else _PATH)
        return known

    def override(self, **values: Any) -> None:
        """Set traits until the server ends."""
        if self._binder_before is None:
            self._binder_before = {}
        for name, value in values.items():
            self._binder_before.setdefault(name, getattr(self, name))
            setattr(self, name, value)

    def clear_state(self) -> None:
        """Also restore the spawner's image and command."""
        super().clear_state()
        before, self._binder_before = self._binder_before, None
        for name, value in (before or {}).items():
            setattr(self, name, value)
