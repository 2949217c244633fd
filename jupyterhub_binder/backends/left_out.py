"""Says what our checkouts and images leave out of a repository. Pure.

It concerns backends that build from our checkout: BinderHub fetches submodules itself.
"""

from __future__ import annotations

import posixpath
import re

from jupyterhub_binder.model import Finding, Recipe, RequirementLine, Severity
from jupyterhub_binder.model.text import Message

_HOME = re.compile(r"(?<![\w./])~/|\$HOME\b|\$\{HOME\b|\s--user\b")
_LOCATIONS = ("-e", "--editable", "-r", "--requirement", "-c", "--constraint")


def left_out(recipe: Recipe) -> tuple[Finding, ...]:
    """Return a finding for each kind of thing that is left out."""
    return (
        *_submodules(recipe),
        *_lfs(recipe),
        *_home(recipe),
    )


def _submodules(recipe: Recipe) -> list[Finding]:
    if not recipe.submodules:
        return []
    message = Message(
        "This hub does not fetch these submodules, so their folders are empty: %(folders)s.",
        folders=", ".join(recipe.submodules[:10]),
    )
    found = [Finding(Severity.WARNING, "submodules", message, ".gitmodules")]
    for line in recipe.requirements:
        place = _place(line)
        if any(f"{place}/".startswith(f"{folder}/") for folder in recipe.submodules):
            message = Message(
                "%(path)s: “%(line)s” can't be installed: it is in a submodule, which this hub "
                "does not fetch.",
                path=line.path,
                line=line.text[:200],
            )
            found.append(Finding(Severity.PROBLEM, "in_submodule", message, line.path))
    return found


def _place(line: RequirementLine) -> str:
    """Return the path of the checkout that a line names, or ""."""
    text = line.value if line.option in _LOCATIONS else line.text
    place = re.split(r"[\[;]", text.removeprefix("file:"), maxsplit=1)[0].strip()
    if "://" in place or not (line.option or "/" in place or place.startswith(".")):
        return ""
    folder = posixpath.dirname(line.path) if line.option in _LOCATIONS[2:] else line.folder
    return posixpath.normpath(posixpath.join(folder, place))


def _lfs(recipe: Recipe) -> list[Finding]:
    if not recipe.lfs:
        return []
    message = Message(
        "This hub does not fetch files from Git LFS (%(files)s). Small text files take their "
        "place.",
        files=", ".join(recipe.lfs[:10]),
    )
    return [Finding(Severity.WARNING, "lfs", message, ".gitattributes")]


def _home(recipe: Recipe) -> list[Finding]:
    path = next((file.path for file in recipe.files if file.kind == "postBuild"), "")
    if not _HOME.search(recipe.post_build):
        return []
    message = Message(
        "%(path)s seems to write to the home folder. That is not kept, because each person has a home "
        "folder. Write to $REPO_DIR instead.",
        path=path,
    )
    return [Finding(Severity.WARNING, "home_not_kept", message, path)]
