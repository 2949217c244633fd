"""The command of a server in an environment: the files first, then the environment's own server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import PurePosixPath

from jupyterhub_binder.spawner.spec import EnvironmentSpec

REPO_DIR = "$REPO_DIR"
"""A source: what the image's own variable of that name says."""

CONTENT_VARIABLE = "JUPYTERHUB_BINDER_CONTENT"
"""The variable that hands a server the script that brings the files; the server has it no more."""

RUN_CONTENT = f"import os; exec(os.environ.pop({CONTENT_VARIABLE!r}))"
"""What Python runs of that variable."""

_MODULES = ("gitsync",)
"""The modules that the script imports, each after those that it imports itself."""

_PACKAGE = """\
import sys, types
package = sys.modules["jupyterhub_binder"] = types.ModuleType("jupyterhub_binder")
"""
_LOAD = """\
package.{name} = sys.modules["jupyterhub_binder.{name}"] = types.ModuleType("{name}")
exec({text!r}, package.{name}.__dict__)
"""

_LONGEST_PATH = 1000

PROGRAM = "jupyterhub-singleuser"
_SERVERS = {PROGRAM, "jupyter-labhub"}


def content_script() -> str:
    """Return the script that brings a repository's files into a home, as text.

    It is handed over by an environment variable, so that neither the person nor an image needs
    to be able to read the hub's own files. What it imports of ours is put before it.
    """
    package = files("jupyterhub_binder")
    texts = [package.joinpath(f"{name}.py").read_text(encoding="utf-8") for name in _MODULES]
    loads = [_LOAD.format(name=name, text=text) for name, text in zip(_MODULES, texts, strict=True)]
    main = package.joinpath("content.py").read_text(encoding="utf-8")
    return f"{_PACKAGE}{''.join(loads)}exec({main!r})\n"


def content_arguments(
    spec: EnvironmentSpec,
    sources: Iterable[str],
    *,
    path: object = None,
    limits: Sequence[str] | None = (),
) -> list[str]:
    """Return the script's arguments; a `path` that can be one wins over the environment's own.

    The files come from the first of `sources` that is there, or by git, within `limits`; where
    those are None, only from `sources`.
    """
    fetched = limits is not None and (spec.content_elsewhere or spec.content == "sync")
    return [
        *(f"--from={source}" for source in sources if source and not spec.content_elsewhere),
        f"--to={spec.directory}",
        f"--mode={'copy' if spec.content == 'sync' and limits is None else spec.content}",
        f"--origin={spec.content_url if spec.content_elsewhere else spec.repo_url}",
        f"--ref={'' if spec.content_elsewhere else spec.resolved_ref}",
        *([f"--url={spec.content_url}", f"--follow={spec.content_ref}"] if fetched else []),
        *(limits or () if fetched else ()),
        f"--path={path if _is_path(path) else spec.path}",
    ]


def _is_path(value: object) -> bool:
    """Say whether what a person sent can be a command's argument: no NUL, not endless."""
    return isinstance(value, str) and len(value) <= _LONGEST_PATH and value.isprintable()


def wrap(command: Sequence[str] | None, *, bring: Sequence[str], program: str) -> list[str]:
    """Return an administrator's command with the environment's server in the place of its own.

    `bring` brings the files and then becomes what follows it. What stood before and after the
    server (a wrapper, arguments) stays; a command that names no server we know is replaced.
    """
    before: list[str] = []
    after: list[str] = []
    for index, word in enumerate(command or ()):
        if PurePosixPath(word).name in _SERVERS:
            before, after = list(command[:index]), list(command[index + 1 :])  # type: ignore[index]
    return [*before, *bring, "--", program, *after]
