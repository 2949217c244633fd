"""repo2docker's engine: the programs `docker` or `podman`.

repo2docker's own engine needs the buildx plugin. This one also supports Podman, BuildKit without
the plugin and Docker's first builder. It runs in repo2docker's process.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from repo2docker.engine import BuildError, ContainerEngine, Image
from traitlets import Dict, Enum, List, Unicode

from jupyterhub_binder.backends.repo2docker.builder import ENDED, Builder
from jupyterhub_binder.backends.repo2docker.inside.files import has_files, write_context
from jupyterhub_binder.utils.lines import read_lines

_PIECE = 1200
"""Maximum characters of a line, so that its JSON fits our line limit."""

_RED, _RESET = "\x1b[91m", "\x1b[0m"
"""Docker's first builder prints all of standard error in red."""
_CHMOD = re.compile(rb"^(COPY|ADD) --chmod=0?755 ", re.MULTILINE)
_ENTRYPOINTS = ("repo2docker-entrypoint", "python3-login")


class BinderEngine(ContainerEngine):
    """Builds through `docker` or `podman`, with or without buildx."""

    string_output = True

    program = Unicode("docker", help="The engine's program. Default: `docker`.").tag(config=True)
    builder = Enum(
        [str(one) for one in Builder],
        str(Builder.BUILDX),
        help="The builder. Default: `buildx`.",
    ).tag(config=True)
    extra_build_args = List(Unicode(), help="Additional arguments for `build`. Default: none.").tag(
        config=True
    )
    labels = Dict(
        Unicode(),
        Unicode(),
        help=(
            "Labels for each image. As repo2docker's labels, each would be a build step. "
            "Default: none."
        ),
    ).tag(config=True)
    container_name = Unicode(
        help="The name of the container for the check of files. Default: the engine chooses."
    ).tag(config=True)
    cache_namespace = Unicode(
        help="A prefix that separates BuildKit's cache mounts. Default: none, all Dockerfiles "
        "share them."
    ).tag(config=True)

    def build(
        self,
        *,
        buildargs: Mapping[str, str] | None = None,
        cache_from: Sequence[str] | None = None,
        tag: str = "",
        dockerfile: str = "",
        fileobj: IO[bytes] | None = None,
        path: str = "",
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        **_: Any,
    ) -> Iterator[str]:
        """Build an image in the engine; yield the output. Raises BuildError.

        It does not push. `extra_build_args` has the limits, which differ by builder.
        """
        arguments = dict(buildargs or {})
        if self.cache_namespace and self._has_buildkit:
            arguments["BUILDKIT_CACHE_MOUNT_NS"] = self.cache_namespace
        steps = [
            *_repeat("--build-arg", _pairs(arguments)),
            *_repeat("--cache-from", cache_from or ()),
            *(["--platform", platform] if platform else ()),
            *self.extra_build_args,
        ]
        image = [
            *_repeat("--label", _pairs({**(labels or {}), **self.labels})),
            *(["--tag", tag] if tag else ()),
        ]
        if fileobj is None:
            file = dockerfile or f"{path}/Dockerfile"
            yield from self._run([*steps, *image, "--file", file, path])
            yield from self._add_files(Path(path), tag, arguments)
            return
        with tempfile.TemporaryDirectory(prefix="context-") as folder:
            with tarfile.open(fileobj=fileobj) as archive:
                archive.extractall(folder, filter="tar")
            if self.builder == Builder.LEGACY:
                do_without_chmod(Path(folder))
            yield from self._run([*steps, *image, folder])

    @property
    def _has_buildkit(self) -> bool:
        return self.builder in (Builder.BUILDX, Builder.BUILDKIT)

    def _add_files(self, checkout: Path, image: str, buildargs: Mapping[str, str]) -> Iterator[str]:
        """Add the repository's files as a last layer, if missing."""
        folder, owner = buildargs.get("REPO_DIR", ""), buildargs.get("NB_UID", "")
        if not (folder and owner) or (yield from self._has_files(image, folder)):
            return
        yield f"Adding the repository's files: the Dockerfile puts none in {folder}\n"
        with tempfile.TemporaryDirectory(prefix="files-") as context:
            write_context(Path(context), checkout, image=image, folder=folder, owner=owner)
            before = self._ask("image", "inspect", "--format={{.Id}}", image)
            yield from self._run([*self._beside(), "--tag", image, *self.extra_build_args, context])
            if before and self.builder != Builder.LEGACY:
                # It has lost its name, and only the first builder removes it with the new one.
                self._ask("image", "rm", before)

    def _has_files(self, image: str, folder: str) -> Generator[str, None, bool]:
        try:
            return has_files(self.program, image, folder, name=self.container_name)
        except subprocess.CalledProcessError as error:
            why = f"The image can't be inspected: {error.stderr.strip()}"
            yield f"ERROR: {why}\n"  # repo2docker logs nothing of an exception
            raise BuildError(why) from error

    def _beside(self) -> list[str]:
        """Return the options for a build from a local image.

        A buildx builder in a container can't see local images; the context's own builder can.
        """
        if self.builder != Builder.BUILDX:
            return []
        return ["--builder", self._ask("context", "show") or "default"]

    def _ask(self, *words: str) -> str:
        """Return a short command's output, or ""."""
        done = subprocess.run([self.program, *words], capture_output=True, text=True)
        return done.stdout.strip()

    def _run(self, words: Sequence[str]) -> Iterator[str]:
        options, variables = _BUILDS[Builder(self.builder)]
        process = subprocess.Popen(
            [self.program, *options, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
        )
        assert process.stdout is not None
        with process:
            for line in read_lines(process.stdout):
                if self.builder == Builder.LEGACY:
                    line = line.replace(_RED, "").replace(_RESET, "")
                yield from _pieces(line)
        if process.returncode:
            raise BuildError(f"{ENDED} {process.returncode}.")

    def inspect_image(self, image: str) -> Image | None:
        """Return None: the service has already looked."""
        return None


_BUILDS: dict[Builder, tuple[list[str], dict[str, str]]] = {
    # Without the variable it asks git about the checkout, for an attestation that is not made.
    Builder.BUILDX: (
        ["buildx", "build", "--load", "--progress", "plain"],
        {"BUILDX_GIT_INFO": "false"},
    ),
    Builder.BUILDKIT: (["build", "--progress", "plain"], {"DOCKER_BUILDKIT": "1"}),
    Builder.LEGACY: (["build", "--force-rm"], {"DOCKER_BUILDKIT": "0"}),
    Builder.PODMAN: (["build", "--format", "docker", "--force-rm"], {}),
}
"""The command and the variables of each builder."""


def _pieces(line: str) -> Iterator[str]:
    end = "\r" if line.endswith("\r") else "\n"
    text = line.removesuffix("\r")
    for i in range(0, max(len(text), 1), _PIECE):
        yield text[i : i + _PIECE] + end


def do_without_chmod(folder: Path) -> None:
    """Adapt repo2docker's context to Docker's first builder, which lacks `--chmod`.

    The files get their mode here.
    """
    dockerfile = folder / "Dockerfile"
    dockerfile.write_bytes(_CHMOD.sub(rb"\1 ", dockerfile.read_bytes()))
    for name in _ENTRYPOINTS:
        if (file := folder / name).is_file():
            file.chmod(0o755)


def _pairs(values: Mapping[str, str] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (values or {}).items()]


def _repeat(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
