"""Servers in containers: any spawner that has an `image` starts the environment's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from traitlets import Unicode

from jupyterhub_binder.spawner.command import (
    PROGRAM,
    REPO_DIR,
    RUN_CONTENT,
    content_arguments,
    wrap,
)
from jupyterhub_binder.spawner.form import PATH_OPTION
from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin
from jupyterhub_binder.spawner.refusal import StartRefused
from jupyterhub_binder.spawner.spec import EnvironmentSpec

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*")
_LOCAL = "venv:"
BRING = (
    "command -v python3 >/dev/null 2>&1 || "
    '{ until [ "$1" = -- ]; do shift; done; shift; exec "$@"; }; '
    'exec python3 -I -c "$0" "$@"'
)
"""Brings the files with the image's own Python; an image without one starts without them."""


class BinderImageMixin(BinderSpawnerMixin):
    """Starts environments that are container images, through a spawner's `image` and `cmd`."""

    binder_repo_dir = Unicode(
        "/srv/repo",
        config=True,
        help="""
        The folder of images that holds the repository's files: a path outside the home.

        The people's homes are mounted over whatever an image has in its own. Build with
        `--target-repo-dir=/srv/repo`: the repo2docker backend does, BinderHub through
        `KubernetesBuildExecutor.repo2docker_extra_args`. Default: `/srv/repo`. Where an
        image has none, its own variable REPO_DIR counts.
        """,
    )

    _binder_before: dict[str, Any] | None = None

    def apply_environment(self, spec: EnvironmentSpec) -> AbstractContextManager[None]:
        """Return a context in which the image, and a command that suits it, are the spawner's.

        Both stay until the server has ended, for whoever asks the spawner what it runs.
        """
        return self._with_image(spec)

    @contextmanager
    def _with_image(self, spec: EnvironmentSpec) -> Iterator[None]:
        self.override(image=self.image_of(spec), cmd=self.command_of(spec))
        yield

    def image_of(self, spec: EnvironmentSpec) -> str:
        """Return the environment's image. Raises StartRefused where it is no container's."""
        image = spec.image or ""
        if image.startswith(_LOCAL) or not _REFERENCE.fullmatch(image):
            raise StartRefused(
                "This hub starts containers; the environment is none of a container.",
                reason="configuration",
            )
        return image

    def command_of(self, spec: EnvironmentSpec) -> list[str]:
        """Return the spawner's command with the image's own server in it, after the files."""
        path = self.user_options.get(PATH_OPTION)
        sources = [self.binder_repo_dir, REPO_DIR]
        arguments = content_arguments(spec, sources, path=path, limits=self.content_limits())
        return wrap(self.cmd, bring=["sh", "-c", BRING, RUN_CONTENT, *arguments], program=PROGRAM)

    def override(self, **values: Any) -> None:
        """Set traits until the server has ended."""
        if self._binder_before is None:
            self._binder_before = {}
        for name, value in values.items():
            self._binder_before.setdefault(name, getattr(self, name))
            setattr(self, name, value)

    def clear_state(self) -> None:
        """Give the spawner its own image and command back, too."""
        super().clear_state()
        before, self._binder_before = self._binder_before, None
        for name, value in (before or {}).items():
            setattr(self, name, value)
