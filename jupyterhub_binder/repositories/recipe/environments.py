"""Reads packages, channels and variables from environment.yml.

Invalid files become findings. A backend decides which channels and packages it takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from jupyterhub_binder.model.condafile import CondaFile
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.repositories.recipe.packages import short_version
from jupyterhub_binder.repositories.recipe.requirements import (
    MAX_LINE_CHARACTERS,
    MAX_LINES,
    Wanted,
    read_pip_list,
)
from jupyterhub_binder.utils.safe_load import load_yaml

_MAX_YAML = 2**17
_MAX_CHANNELS = 20
_MAX_VARIABLES = 100

_CONDA = re.compile(r"(?:[^\s:]+::)?\s*([\w.-]+)\s*(.*)", re.DOTALL)
_CONDA_BRACKET = re.compile(r"\[(?>.*?\bversion\s*=\s*['\"]?([^'\"\]]*)).*\]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


def read_environment(checkout: Checkout, path: str, wanted: Wanted) -> None:
    """Read conda's environment.yml, with its pip list."""
    content = _load_yaml(checkout, path)
    if content in (None, ""):
        return
    dependencies = content.get("dependencies") or [] if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping) or not isinstance(dependencies, list):
        _not_an_environment(
            checkout,
            path,
            Message("%(path)s must be a mapping with a list of dependencies.", path=path),
        )
        return
    specs: list[str] = []
    for item in dependencies:
        if isinstance(item, str):
            read_conda_spec(item, wanted)
            specs.append(item.strip()[:MAX_LINE_CHARACTERS])
        elif isinstance(item, Mapping) and _is_pip_list(item):
            read_pip_list(checkout, path, item["pip"] or [], wanted)
        else:
            _not_an_environment(
                checkout,
                path,
                Message(
                    "%(path)s has an entry in its dependencies that is neither a package nor a "
                    "list under `pip:`.",
                    path=path,
                ),
            )
    channels = _read_channels(checkout, path, content)
    variables = keep_variables(checkout, path, content.get("variables"))
    wanted.conda_file = CondaFile(path, channels, tuple(specs[:MAX_LINES]), variables)


def _not_an_environment(checkout: Checkout, path: str, message: Message) -> None:
    checkout.problem("not_an_environment", message, path)


def _read_channels(checkout: Checkout, path: str, content: Mapping[Any, Any]) -> tuple[str, ...]:
    channels = content.get("channels") or []
    plain = isinstance(channels, list) and all(isinstance(each, str) for each in channels)
    if not plain or len(channels) > _MAX_CHANNELS:
        _not_an_environment(
            checkout,
            path,
            Message(
                "The channels of %(path)s must be a list of at most %(most)s names.",
                path=path,
                most=_MAX_CHANNELS,
            ),
        )
        return ()
    return tuple(each.strip()[:300] for each in channels)


def keep_variables(checkout: Checkout, path: str, given: Any) -> tuple[tuple[str, str], ...]:
    """Return environment variables of a file; what is none is a problem."""
    variables = given or {}
    if not (
        isinstance(variables, Mapping)
        and len(variables) <= _MAX_VARIABLES
        and all(_is_variable(name, value) for name, value in variables.items())
    ):
        _not_an_environment(
            checkout,
            path,
            Message(
                "The variables of %(path)s must be a mapping of at most %(most)s names to texts.",
                path=path,
                most=_MAX_VARIABLES,
            ),
        )
        return ()
    return tuple(variables.items())


def _is_variable(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and bool(_VARIABLE.fullmatch(name))
        and len(value) <= MAX_LINE_CHARACTERS
        and "\x00" not in value
    )


def _is_pip_list(item: Mapping[Any, Any]) -> bool:
    lines = item.get("pip")
    is_list = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    return set(item) == {"pip"} and (is_list or not lines)


def _load_yaml(checkout: Checkout, path: str) -> Any:
    text = checkout.read(path) or ""
    if len(text) > _MAX_YAML:
        checkout.problem(
            "too_large", Message("%(path)s is too large for an environment file.", path=path), path
        )
        return None
    try:
        return load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        why = Message("%(path)s is not valid YAML.", path=path)
        if mark:
            line = mark.line + 1
            why = Message("%(path)s is not valid YAML (line %(line)s).", path=path, line=line)
        checkout.problem(
            "not_yaml",
            why,
            path,
        )
    except (yaml.YAMLError, RecursionError, ValueError):
        checkout.problem(
            "not_yaml",
            Message(
                "%(path)s uses YAML that this hub does not support, such as aliases or deep "
                "nesting.",
                path=path,
            ),
            path,
        )
    return None


def read_conda_spec(item: str, wanted: Wanted) -> None:
    """Count a conda package, or note which Python is asked for."""
    item = item.strip()[:MAX_LINE_CHARACTERS]
    found = _CONDA.fullmatch(item)
    if found is None or found[1].lower() not in ("python", "pip"):
        wanted.conda.append(found[1] if found else item)
        wanted.add(item, pinned=bool(re.search(r"[^<>!~]=", item)) and "*" not in item)
    elif found[1].lower() == "python":
        wanted.python = wanted.python or _conda_version(found[2])


def _conda_version(text: str) -> str:
    """Return the version of conda's ``=3.11``, `` 3.11.* build``, ``>=3.10,<3.13``."""
    if bracket := _CONDA_BRACKET.fullmatch(text):
        text = bracket[1]
    # ``=3.11=h123`` and ``3.11 h123`` name a build, too.
    text = re.sub(r"([<>=!~,|])\s+", r"\1", text.strip()).partition(" ")[0]
    exact = re.fullmatch(r"=*(\d[\w.*]*)(?:=.*)?", text)
    return (short_version(exact[1]) or exact[1]) if exact else text
