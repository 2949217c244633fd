"""What the plan of a venv build says of a repository's files. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jupyterhub_binder.backends.venv.conda.choice import CondaPlan
from jupyterhub_binder.backends.venv.requirements import RefusedLine, Requirements
from jupyterhub_binder.model.text import Message, all_of

NOT_SERVED: Mapping[str, Message] = {
    "apt.txt": Message(
        "This hub can't install apt packages. PyPI often has the same library as a wheel."
    ),
    "install.R": Message("This hub can't install R. It builds only Python environments."),
    "DESCRIPTION": Message("This hub can't install R. It builds only Python environments."),
    "REQUIRE": Message("This hub can't install Julia. It builds only Python environments."),
    "Project.toml": Message("This hub can't install Julia. It builds only Python environments."),
    "JuliaProject.toml": Message(
        "This hub can't install Julia. It builds only Python environments."
    ),
    "default.nix": Message(
        "This hub can't build with Nix. List the Python packages in requirements.txt."
    ),
    "Dockerfile": Message(
        "This hub does not build container images. List the Python packages in requirements.txt."
    ),
    "Pipfile": Message(
        "This hub does not read Pipfile. List the packages in requirements.txt (`pipenv "
        "requirements` writes it)."
    ),
    "Pipfile.lock": Message(
        "This hub does not read Pipfile.lock. List the packages in requirements.txt (`pipenv "
        "requirements` writes it)."
    ),
}
"""Why a kind of file is not supported, and what to use instead."""


def cannot_install(refused: RefusedLine) -> Message:
    """Return why a line is refused."""
    return Message(
        "%(path)s: “%(line)s” can't be installed: %(why)s.",
        path=refused.line.path,
        line=refused.line.text[:200],
        why=refused.why,
    )


def installs(found: Requirements, *, locked: bool = False) -> Message:
    """Return how many packages a file installs."""
    count = len(found.packages) + len(found.sources)
    if not count:
        return Message("Names no package")
    if locked:
        return Message.counted(
            "Installs one package in the version that it names",
            "Installs %(num)s packages in the versions that it names",
            count,
        )
    return Message.counted("Installs one package", "Installs %(num)s packages", count)


def installs_conda(plan: CondaPlan, pip: Requirements) -> Message:
    """Return what is installed from where."""
    count = len(plan.packages or plan.specs)
    said = Message.counted(
        "Installs one conda package from %(channels)s",
        "Installs %(num)s conda packages from %(channels)s",
        count,
        channels=all_of([one.name for one in plan.channels]),
    )
    more = len(pip.packages) + len(pip.sources)
    if not more:
        return said
    return Message.joined(
        said,
        Message.counted("and one package under `pip:`", "and %(num)s packages under `pip:`", more),
    )


def some(names: Sequence[str]) -> str:
    """Return some of many names."""
    shown = list(names[:8])
    if len(names) <= len(shown):
        return all_of(shown)
    more = len(names) - len(shown)
    return Message("%(names)s and %(count)s more", names=", ".join(shown), count=more)
