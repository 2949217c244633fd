"""The repository's files in images that a repository's own Dockerfile makes.

A launch brings files into the home from one folder of the image, where repo2docker's build packs
put them. A Dockerfile need not: then a last layer does. Runs inside repo2docker's process; builds
nothing itself, `r2d_engine` does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

_FOLDER = "files"


def has_files(program: str, image: str, folder: str, *, name: str = "") -> bool:
    """Say whether an image has something in a folder; asked of a container that never starts.

    `name` is that container's, for whoever clears up after a kill. Raises CalledProcessError.
    """
    named = [f"--name={name}"] if name else []
    # An image may name no command, and a container needs one: it is never run.
    container = _ask(program, "create", *named, image, "true").strip().splitlines()[-1]
    try:
        return _is_filled(program, f"{container}:{folder}")
    finally:
        _ask(program, "rm", "--force", "--volumes", container)


def _is_filled(program: str, place: str) -> bool:
    """Say whether a folder holds anything, by no more than the beginning of its archive."""
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
    """Write the context of a build that adds a checkout's files to an image.

    They are hard links where that is possible. They are a folder further down, so that the
    repository's own .dockerignore keeps nothing of them back.
    """
    shutil.copytree(checkout, context / _FOLDER, symlinks=True, copy_function=_link)
    (context / _FOLDER).chmod(0o755)
    (context / "Dockerfile").write_text(
        f"FROM {image}\nCOPY --chown={owner}:{owner} {_FOLDER}/ {folder}/\n", encoding="utf-8"
    )


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one that has no links
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _ask(program: str, *words: str) -> str:
    done = subprocess.run(
        [program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout
