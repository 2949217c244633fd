"""The server's command: bring the files, then start the environment's server."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from urllib.parse import unquote

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.utils.validation import clean_path, split_address

REPO_DIR = "$REPO_DIR"
"""The folder in the image's variable REPO_DIR."""

CONTENT_VARIABLE = "JUPYTERHUB_BINDER_CONTENT"
"""Holds the script that brings the files, which removes it."""

RECEIPT_VARIABLE = "JUPYTERHUB_BINDER_RECEIPT"
"""Carries the build's receipt to the script, which writes it to a file and names that here."""

START_VARIABLE = "R2D_ENTRYPOINT"
"""Names the start script to repo2docker's entrypoint; if it is empty, no script runs."""

_MAX_RECEIPT = 100_000
"""Characters; Linux takes 131,072 bytes of one variable."""

RUN_CONTENT = f"import os; exec(os.environ.pop({CONTENT_VARIABLE!r}))"

_GITSYNC = ("commands", "trees", "state", "upstream", "merge", "move", "meanwhile", "__init__")
"""The modules of `gitsync`, in import order."""

_LOADER = """\
import sys, types
def load(name, text=""):
    sys.modules[name] = types.ModuleType(name)
    exec(text, sys.modules[name].__dict__)
for name in ("jupyterhub_binder", "jupyterhub_binder.utils", "jupyterhub_binder.singleuser"):
    load(name)
"""

_NO_LIMITS = ("--seconds=86400", "--max-seconds=86400")

PROGRAM = "jupyterhub-singleuser"
_SERVERS = {PROGRAM, "jupyter-labhub"}


def content_script() -> str:
    """Return the script that brings the files.

    It travels in a variable, so that images need no access to the hub's files.
    """
    package = files("jupyterhub_binder")
    paths = ["utils/trees", *(f"singleuser/gitsync/{name}" for name in _GITSYNC)]
    loads = [f"load({_module_name(path)!r}, {_text(package, path)!r})\n" for path in paths]
    return f"{_LOADER}{''.join(loads)}exec({_text(package, 'singleuser/content')!r})\n"


def pack_receipt(text: str) -> str:
    """Return a receipt as `content_script` reads it; empty if it is too large for a variable."""
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode() if text else ""
    return packed if len(packed) <= _MAX_RECEIPT else ""


def _module_name(path: str) -> str:
    return f"jupyterhub_binder/{path}".replace("/", ".").removesuffix(".__init__")


def _text(package: Traversable, path: str) -> str:
    return package.joinpath(f"{path}.py").read_text(encoding="utf-8")


def content_arguments(
    spec: LaunchSpec,
    sources: Iterable[str],
    *,
    path: object = None,
    limits: Sequence[str] | None = (),
    start: str = "",
) -> list[str]:
    """Return the script's arguments; a valid `path` overrides the environment's.

    `start` is the folder of an environment whose start script runs, if its repository has one. If `limits` is None, Git is not used.
    """
    may_fetch = spec.content_elsewhere or spec.content == "sync" or spec.content_key
    fetched = limits is not None and may_fetch
    return [
        *(f"--from={source}" for source in sources if source and not spec.content_elsewhere),
        f"--to={spec.directory}",
        f"--mode={'copy' if spec.content == 'sync' and limits is None else spec.content}",
        f"--origin={spec.content_url if spec.content_elsewhere else spec.repo_url}",
        f"--ref={'' if spec.content_elsewhere else spec.resolved_ref}",
        *([f"--url={spec.content_url}"] if fetched else []),
        *([f"--follow={spec.content_ref}"] if spec.content_ref else []),
        *([f"--start={start}"] if start else []),
        *(_NO_LIMITS if limits is None else limits),
        *_opens(_path_of(path, spec)),
    ]


def _path_of(path: object, spec: LaunchSpec) -> str:
    for given in (path, spec.path):
        if isinstance(given, str):
            try:
                return clean_path(given)
            except InvalidInput:
                continue
    return ""


def _opens(path: str) -> list[str]:
    if not path.startswith("/"):
        return [f"--path={path}"]
    address, file, query = split_address(path)
    return [f"--path={unquote(file)}", f"--address={address}", f"--query={query}"]


def wrap(command: Sequence[str] | None, *, bring: Sequence[str], program: str) -> list[str]:
    """Replace the server in an administrator's command.

    Keeps wrappers and arguments. A command without a known server is replaced.
    """
    before: list[str] = []
    after: list[str] = []
    for index, word in enumerate(command or ()):
        if PurePosixPath(word).name in _SERVERS:
            before, after = list(command[:index]), list(command[index + 1 :])  # type: ignore[index]
    return [*before, *bring, "--", program, *after]
