"""repo2docker's side of our engines: builds with what an engine's program can do by itself.

repo2docker's own engine needs the buildx plugin; this one also takes Podman, a Docker program
with BuildKit inside, and Docker's first builder. An entry point of the group
`repo2docker.engines`; it runs inside repo2docker's process, never inside the service's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from repo2docker.engine import BuildError, ContainerEngine, Image
from traitlets import Dict, Enum, List, Unicode

from jupyterhub_binder.backends.builder import ENDED, Builder
from jupyterhub_binder.backends.r2d_files import has_files, write_context
from jupyterhub_binder.backends.r2d_trial import Trial, Wanted
from jupyterhub_binder.lines import read_lines

_PIECE = 1200
"""Characters of a line before it is cut: as JSON, escaped, it still is one line for who reads."""

_RED = re.compile(r"\x1b\[(?:91|0)m")
"""Docker's first builder has all of standard error in red, which most of what is said there is not."""
_CHMOD = re.compile(rb"^(COPY|ADD) --chmod=0?755 ", re.MULTILINE)
_ENTRYPOINTS = ("repo2docker-entrypoint", "python3-login")


class BinderEngine(ContainerEngine):
    """Builds through `docker` or `podman`, with or without buildx."""

    string_output = True

    program = Unicode("docker", help="The engine's program. Default: docker.").tag(config=True)
    builder = Enum(
        [str(one) for one in Builder],
        str(Builder.BUILDX),
        help="How the program builds. Default: buildx.",
    ).tag(config=True)
    buildx = Unicode(
        help="The path of Docker's plugin, which is faster run by itself. Default: the program "
        "finds it."
    ).tag(config=True)
    extra_build_args = List(
        Unicode(), help="More arguments of the program's `build`. Default: none."
    ).tag(config=True)
    labels = Dict(
        Unicode(),
        Unicode(),
        help="Labels for each image: told to repo2docker, each would be a step of the build of its own.",
    ).tag(config=True)
    container_name = Unicode(
        help="What a container that is made for a look is called. Default: the engine chooses."
    ).tag(config=True)
    cache_namespace = Unicode(
        help="What keeps the cache mounts of Dockerfiles apart, with BuildKit. Default: none, all "
        "Dockerfiles share them."
    ).tag(config=True)
    trial = Dict(
        help="What `r2d_trial.Wanted` has, to try images while they are written. Default: none."
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
        """Build an image into the engine's own store; yield what is said. Raises BuildError.

        Pushing is not done here, and limits are `extra_build_args`' business: each builder has
        others.
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
            file = Path(dockerfile or f"{path}/Dockerfile")
            yield from self._build_dockerfile(Path(path), file, steps, image, tag, arguments)
            return
        with tempfile.TemporaryDirectory(prefix="context-") as folder:
            with tarfile.open(fileobj=fileobj) as archive:
                archive.extractall(folder, filter="tar")
            if self.builder == Builder.LEGACY:
                do_without_chmod(Path(folder))
            file = Path(folder, "Dockerfile")
            with self._trial_beside(file, steps, folder) as trial:
                yield from _run_tried(trial, lambda: self._run([*steps, *image, folder]))

    def _build_dockerfile(
        self,
        checkout: Path,
        file: Path,
        steps: Sequence[str],
        image: Sequence[str],
        tag: str,
        buildargs: Mapping[str, str],
    ) -> Iterator[str]:
        """Build a repository's own Dockerfile, and see to it that the image has the files."""
        with self._trial_beside(file, steps, str(checkout)) as trial:

            def lines() -> Iterator[str]:
                yield from self._run([*steps, *image, "--file", str(file), str(checkout)])
                is_for_the_start = yield from self._add_files(checkout, tag, buildargs)
                if trial is not None and is_for_the_start:
                    trial.forget()

            yield from _run_tried(trial, lines)

    @contextmanager
    def _trial_beside(
        self, file: Path, steps: Sequence[str], context: str
    ) -> Iterator[Trial | None]:
        """Prepare a trial of what a Dockerfile makes; None where the builder can do none."""
        keeps_steps = not any(step.startswith("--no-cache") for step in steps)
        ignored = Path(f"{file}.dockerignore")
        is_plain = file.is_file() and not ignored.is_symlink()  # where a link leads depends
        if not (self.trial and self._has_buildkit and keeps_steps and is_plain):
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            other = Path(folder, "Dockerfile")

            def start(text: str) -> subprocess.Popen[bytes]:
                other.write_bytes(text.encode("utf-8", "surrogateescape"))
                if ignored.is_file():
                    shutil.copyfile(ignored, f"{other}.dockerignore")
                words = [*steps, *_NOTHING_MADE, "--file", str(other), context]
                return self._start(words, group=0, **_SOON)

            yield Trial(
                Wanted(**self.trial),
                file.read_bytes().decode("utf-8-sig", "surrogateescape"),
                start=start,
                ask_entrypoint=self._ask_entrypoint,
            )

    def _ask_entrypoint(self, image: str) -> str:
        return self._ask("image", "inspect", "--format={{json .Config.Entrypoint}}", "--", image)

    @property
    def _has_buildkit(self) -> bool:
        return self.builder in (Builder.BUILDX, Builder.BUILDKIT)

    def _add_files(
        self, checkout: Path, image: str, buildargs: Mapping[str, str]
    ) -> Generator[str, None, bool]:
        """Add the repository's files, in a last layer, to an image that has none of them.

        Returns whether the image may look at them when it starts: it has an entrypoint, or speaks
        of their folder.
        """
        folder, owner = buildargs.get("REPO_DIR", ""), buildargs.get("NB_UID", "")
        if not (folder and owner):
            return False
        try:
            if has_files(self.program, image, folder, name=self.container_name):
                return False
        except subprocess.CalledProcessError as error:
            why = f"The image cannot be looked into: {error.stderr.strip()}"
            yield f"ERROR: {why}\n"  # of an exception repo2docker says nothing
            raise BuildError(why) from error
        yield f"Adding the repository's files: the Dockerfile puts none in {folder}\n"
        with tempfile.TemporaryDirectory(prefix="files-") as context:
            write_context(Path(context), checkout, image=image, folder=folder, owner=owner)
            told = self._ask("image", "inspect", "--format={{.Id}} {{json .Config}}", image)
            before, _, configured = told.partition(" ")
            yield from self._run([*self._beside(), "--tag", image, *self.extra_build_args, context])
            if before and self.builder != Builder.LEGACY:
                # It has lost its name, and only the first builder removes it with the new one.
                self._ask("image", "rm", before)
        if not configured or folder in configured:
            return True
        return bool(json.loads(configured).get("Entrypoint"))

    def _beside(self) -> list[str]:
        """Return the options of a build from an image that only the engine itself has.

        A builder of buildx that runs in a container of its own does not see the engine's images;
        the one that is named like the context does.
        """
        if self.builder != Builder.BUILDX:
            return []
        return ["--builder", self._ask("context", "show") or "default"]

    def _ask(self, *words: str) -> str:
        """Return what the program says to a short command; nothing where it fails."""
        done = subprocess.run([self.program, *words], capture_output=True, text=True)
        return done.stdout.strip()

    def _start(
        self, words: Sequence[str], group: int | None = None, **more: str
    ) -> subprocess.Popen[bytes]:
        options, variables = _BUILDS[Builder(self.builder)]
        return subprocess.Popen(
            [*self._find_command(), *options, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables, **more},
            process_group=group,
        )

    def _find_command(self) -> list[str]:
        if self.builder != Builder.BUILDX:
            return [self.program, "build"]
        if os.access(self.buildx, os.X_OK):
            return [self.buildx, "build"]
        return [self.program, "buildx", "build"]

    def _run(self, words: Sequence[str]) -> Iterator[str]:
        loads = ["--load"] if self.builder == Builder.BUILDX else []
        process = self._start([*loads, *words])
        assert process.stdout is not None
        with process:
            for line in read_lines(process.stdout):
                yield from _pieces(_RED.sub("", line) if self.builder == Builder.LEGACY else line)
        if process.returncode:
            raise BuildError(f"{ENDED} {process.returncode}.")

    def inspect_image(self, image: str) -> Image | None:
        """Return None: whether an image is there is known before repo2docker is asked."""
        return None


_NOTHING_MADE = ("--output", "type=cacheonly")
"""For a build that is to make no image, whatever becomes of its last step."""
_SOON = {"TTY_DISPLAY_RATE": "20"}
"""For how many milliseconds BuildKit's client keeps lines back: by itself for up to 150."""
_BUILDS: dict[Builder, tuple[list[str], dict[str, str]]] = {
    # Without the variable it asks git about the checkout, for an attestation that is not made.
    Builder.BUILDX: (["--progress", "plain"], {"BUILDX_GIT_INFO": "false"}),
    Builder.BUILDKIT: (["--progress", "plain"], {"DOCKER_BUILDKIT": "1"}),
    Builder.LEGACY: (["--force-rm"], {"DOCKER_BUILDKIT": "0"}),
    Builder.PODMAN: (["--format", "docker", "--force-rm"], {}),
}
"""The options of a `build`, and variables, by how it builds."""


def _run_tried(trial: Trial | None, build: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Run a build with the trial of its image beside it; alone where it lost a step through it."""
    try:
        yield from trial.beside(build()) if trial is not None else build()
    except BuildError:
        if trial is None or not trial.was_in_the_way:
            raise
        yield "BuildKit lost a step of this build; once more, without a trial beside it\n"
        yield from build()


def _pieces(line: str) -> Iterator[str]:
    end = "\r" if line.endswith("\r") else "\n"
    text = line.removesuffix("\r")
    for i in range(0, max(len(text), 1), _PIECE):
        yield text[i : i + _PIECE] + end


def do_without_chmod(folder: Path) -> None:
    """Make a context of repo2docker's fit Docker's first builder, which has no `--chmod`.

    The files get their mode here instead: the builder copies it.
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
