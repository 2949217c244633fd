"""A folder's state: its commit, an unfinished plan, and notes."""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: PTH103, PTH105, PTH114, PTH118, PTH120, PTH123, UP031

from __future__ import annotations

import json
import os
import re
import time

NOTES = "jupyterhub-binder-notes.txt"
"""In the folder; lists what was put aside."""


_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff]"
)


def readable(text):
    """Make text safe for a terminal, log and variable."""
    return _UNFIT.sub("\ufffd", text)


def read_json(path):
    """Return a file's JSON object, or {}."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path, value):
    """Write atomically."""
    beside = path + ".new"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def settle(git, upstream, branch, theirs=""):
    """Record the synced commit, also in the person's Git."""
    write_json(git.path("state.json"), {"upstream": upstream, "branch": branch})
    git.run("update-ref", "refs/remotes/origin/" + (theirs or branch), upstream)


def write_notes(git, notes):
    """Append to the notes file, which Git ignores."""
    path = os.path.join(git.folder, NOTES)
    if not notes or os.path.islink(path) or git.ask("ls-files", "--", NOTES):
        return
    with open(path, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(time.strftime("%Y-%m-%d %H:%M\n"))
        file.writelines("  %s\n" % note for note in notes)
    exclude = os.path.join(git.dir, "info", "exclude")
    os.makedirs(os.path.dirname(exclude), exist_ok=True)
    with open(exclude, "a+", encoding="utf-8", errors="surrogateescape") as file:
        file.seek(0)
        if "/" + NOTES not in file.read().splitlines():
            file.write("\n/%s\n" % NOTES)
