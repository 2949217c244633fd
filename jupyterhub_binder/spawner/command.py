"""The command of a server in an environment: the files first, then the environment's own server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from urllib.parse import unquote

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import clean_path, split_address
from jupyterhub_binder.spawner.spec import EnvironmentSpec

REPO_DIR = "$REPO_DIR"
"""A source: what the image's own variable of that name says."""

CONTENT_VARIABLE = "JUPYTERHUB_BINDER_CONTENT"
"""The variable that hands a server the script that brings the files; the server has it no more."""

RUN_CONTENT = f"import os; exec(os.environ.pop({CONTENT_VARIABLE!r}))"
"""What Python runs of that variable."""

_GITSYNC = ("commands", "trees", "state", "upstream", "merge", "move", "meanwhile", "__init__")
"""The modules of `gitsync`, which the script imports, each after those that it imports itself."""

_LOADER = """\
import sys, types
def load(name, text=""):
    sys.modules[name] = types.ModuleType(name)
    exec(text, sys.modules[name].__dict__)
load("jupyterhub_binder")
"""

_NO_LIMITS = ("--seconds=86400", "--most-seconds=86400")
"""Of what is not a server, and has nothing to do but bring the files."""

PROGRAM = "jupyterhub-singleuser"
_SERVERS = {PROGRAM, "jupyter-labhub"}


def content_script() -> str:
    """Return the script that brings a repository's files into a home, as text.

    It is handed over by an environment variable, so that neither the person nor an image needs
    to be able to read the hub's own files. What it imports of ours is put before it.
    """
    package = files("jupyterhub_binder")
    loads = [
        f"load({_module_name(name)!r}, {_text(package, 'gitsync', f'{name}.py')!r})\n"
        for name in _GITSYNC
    ]
    return f"{_LOADER}{''.join(loads)}exec({_text(package, 'content.py')!r})\n"


def _module_name(name: str) -> str:
    return f"jupyterhub_binder.gitsync.{name}".removesuffix(".__init__")


def _text(package: Traversable, *path: str) -> str:
    return package.joinpath(*path).read_text(encoding="utf-8")


def content_arguments(
    spec: EnvironmentSpec,
    sources: Iterable[str],
    *,
    path: object = None,
    limits: Sequence[str] | None = (),
) -> list[str]:
    """Return the script's arguments; a `path` that can be one wins over the environment's own.

    The files come from the first of `sources` that is there, or by git, within `limits`; where
    those are None, only from `sources`, however long that takes.
    """
    fetched = limits is not None and (spec.content_elsewhere or spec.content == "sync")
    return [
        *(f"--from={source}" for source in sources if source and not spec.content_elsewhere),
        f"--to={spec.directory}",
        f"--mode={'copy' if spec.content == 'sync' and limits is None else spec.content}",
        f"--origin={spec.content_url if spec.content_elsewhere else spec.repo_url}",
        f"--ref={'' if spec.content_elsewhere else spec.resolved_ref}",
        *([f"--url={spec.content_url}", f"--follow={spec.content_ref}"] if fetched else []),
        *(_NO_LIMITS if limits is None else limits),
        *_opens(_path_of(path, spec)),
    ]


def _path_of(path: object, spec: EnvironmentSpec) -> str:
    """Return what opens: what a person sent where it can be that, else the environment's own."""
    for given in (path, spec.path):
        if isinstance(given, str):
            try:
                return clean_path(given)
            except InvalidInput:
                continue
    return ""


def _opens(path: str) -> list[str]:
    """Return the script's arguments for a path of the repository, or an address of the server."""
    if not path.startswith("/"):
        return [f"--path={path}"]
    address, file, query = split_address(path)
    return [f"--path={unquote(file)}", f"--address={address}", f"--query={query}"]


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
