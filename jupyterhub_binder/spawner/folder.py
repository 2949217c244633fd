"""Servers of environments that are folders: which folder, and the command that starts there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner.command import PROGRAM, RUN_CONTENT, content_arguments, wrap

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VENV = re.compile(rf"venv:({_KEY.pattern})")

REPLACED = ("PYTHONPATH", "PYTHONHOME", "CONDA_DEFAULT_ENV", "CONDA_PREFIX")
"""Variables that would lead a server to packages of another environment."""


def find_key(spec: LaunchSpec) -> str | None:
    """Return the name of the environment's folder; None if it is no folder."""
    found = _VENV.fullmatch(spec.image or "")
    return found[1] if found else None


def find_content_key(spec: LaunchSpec) -> str:
    """Return the name of the folder with the repository's files; empty if it is the same one."""
    return spec.content_key if _KEY.fullmatch(spec.content_key) else ""


def folder_command(
    command: Sequence[str] | None,
    spec: LaunchSpec,
    folder: Path,
    *,
    path: object,
    limits: Sequence[str],
    run_start: bool,
) -> list[str]:
    """Return the command that brings the files and starts the folder's own server."""
    files = folder.with_name(find_content_key(spec) or folder.name)
    arguments = content_arguments(
        spec,
        [str(files / "repo")],
        path=path,
        limits=limits,
        start=str(folder) if run_start else "",
    )
    return wrap(
        command,
        bring=[str(folder / "bin" / "python"), "-I", "-c", RUN_CONTENT, *arguments],
        program=str(folder / "bin" / PROGRAM),
    )


def folder_variables(folder: Path, path: str) -> dict[str, str]:
    """Return the variables that put the folder's programs before those of a PATH."""
    return {"PATH": f"{folder / 'bin'}:{path}", "VIRTUAL_ENV": str(folder)}
