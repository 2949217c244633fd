"""Adds the repository's files to an image from its own Dockerfile.

A launch copies them from one folder of the image, which repo2docker's build packs fill. Runs in
repo2docker's process.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

from jupyterhub_binder.utils.trees import copy_file, copy_tree

_FOLDER = "files"


def has_files(program: str, image: str, folder: str, *, name: str = "") -> bool:
    """Whether a folder in an image has content; its container never starts.

    `name` is the container's. Raises CalledProcessError.
    """
    named = [f"--name={name}"] if name else []
    # An image may name no command, and a container needs one: it is never run.
    container = _ask(program, "create", *named, image, "true").strip().splitlines()[-1]
    try:
        return _is_filled(program, f"{container}:{folder}")
    finally:
        _ask(program, "rm", "--force", "--volumes", container)


def _is_filled(program: str, place: str) -> bool:
    """Whether a folder has content, from the start of its archive."""
    command = [program, "cp", place, "-"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                first, second = archive.next(), archive.next()
        except tarfile.ReadError:  # nothing came: there is no such folder
            return False
        finally:
            process.kill()
    # A link leads somewhere, which is the image's affair.
    return first is not None and (second is not None or not first.isdir())


def write_context(context: Path, checkout: Path, *, image: str, folder: str, owner: str) -> None:
    """Write the build context that adds a checkout's files.

    Uses hard links if possible. A subfolder keeps .dockerignore from excluding files.
    """
    copy_tree(checkout, context / _FOLDER, copy=_link)
    (context / _FOLDER).chmod(0o755)
    (context / "Dockerfile").write_text(
        f"FROM {image}\nCOPY --chown={owner}:{owner} {_FOLDER}/ {folder}/\n", encoding="utf-8"
    )


def _link(name: str, folder: int, target: str) -> None:
    try:
        os.link(name, target, src_dir_fd=folder, follow_symlinks=False)
    except OSError:  # another file system, or one that has no links
        copy_file(name, folder, target)


def _ask(program: str, *words: str) -> str:
    done = subprocess.run(
        [program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout
