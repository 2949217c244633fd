"""Chooses what rattler gets of a repository's conda packages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jupyterhub_binder.backends.venv.conda.channels import (
    Channel,
    Channels,
    PlacedPackage,
    SpecRefused,
    place_package,
    read_spec,
)
from jupyterhub_binder.model.condafile import CondaFile, CondaPackage
from jupyterhub_binder.model.text import Message

_MAX_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class CondaOffer:
    """What a hub can do for conda packages."""

    channels: Channels = field(default_factory=Channels)
    platform: str = ""
    """conda's name of this machine, such as ``linux-64``; empty if conda has none."""
    pythons: Sequence[str] = ()
    """Minor versions that repositories can have."""
    installed: bool = False
    """Whether rattler is."""

    def why_not(self) -> Message | None:
        """Return why there are no conda packages here, for people; None if there are."""
        if not self.channels.known:
            return Message("This hub installs no conda packages.")
        if not self.platform:
            return Message("conda has no packages for this hub's machine.")
        if not self.installed:
            return Message(
                "For the administrator: install jupyterhub-binder[conda] where the service runs."
            )
        return None


@dataclass(frozen=True, slots=True)
class CondaSettings:
    """How a build installs conda packages."""

    base_packages: Sequence[str] = ()
    strict: bool = True
    run_link_scripts: bool = False
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    one_machine: bool = True
    """Whether servers run on this machine, with its processor."""
    max_packages: int = 1000
    max_download_bytes: int = 5 * 2**30
    solve_seconds: int = 300


@dataclass(slots=True)
class CondaPlan:
    """What rattler installs."""

    channels: list[Channel] = field(default_factory=list)
    specs: list[str] = field(default_factory=list)
    """What a repository leaves open, Python apart."""
    python: list[str] = field(default_factory=list)
    """What it says of Python."""
    packages: list[PlacedPackage] = field(default_factory=list)
    """What a lock names."""
    is_complete: bool = False
    """Whether the lock has all packages, the hub's own among them."""
    path: str = ""
    problems: list[tuple[str, Message]] = field(default_factory=list)
    """Each with its code."""

    def say(self, code: str, problem: Message) -> None:
        """Add a problem, up to a limit."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append((code, problem))


def choose_conda(file: CondaFile, offer: CondaOffer) -> CondaPlan:
    """Return what rattler gets of a file, and what speaks against it."""
    channels = offer.channels.choose(file.channels)
    plan = CondaPlan(path=file.path)
    for name in channels.refused:
        plan.say("channel_refused", _refuse_channel(file.path, name, offer))
    for text in file.specs:
        try:
            name, spec = read_spec(text, offer.channels, channels)
        except SpecRefused as refused:
            plan.say("requirement_refused", _refuse(file.path, text, refused.why))
        else:
            (plan.python if name == "python" else plan.specs).append(spec)
    if file.is_lock:
        _choose_locked(plan, file, offer)
    if file.only_for and offer.platform not in file.only_for:
        plan.say("lock_of_another_platform", _say_platforms(file.path, file.only_for, offer))
    plan.channels = channels.found or offer.channels.choose(()).found
    return plan


def choose_explicit(packages: Sequence[CondaPackage], path: str, offer: CondaOffer) -> CondaPlan:
    """Return what rattler gets of a complete list, such as a receipt's."""
    plan = CondaPlan(is_complete=True, path=path)
    _place(plan, packages, path, offer)
    return plan


def _choose_locked(plan: CondaPlan, file: CondaFile, offer: CondaOffer) -> None:
    if offer.platform not in (file.platforms or ()):
        platforms = file.platforms or ()
        plan.say("lock_of_another_platform", _say_platforms(file.path, platforms, offer))
        return
    here = [one for one in file.packages if one.platform == offer.platform]
    _place(plan, here, file.path, offer)


def _place(plan: CondaPlan, packages: Sequence[CondaPackage], path: str, offer: CondaOffer) -> None:
    for package in packages:
        placed = place_package(package, offer.channels)
        if isinstance(placed, Message):
            name = f"{package.name} {package.version}"
            plan.say("requirement_refused", _refuse(path, name, placed))
        else:
            plan.packages.append(placed)


def _say_platforms(path: str, platforms: Sequence[str], offer: CondaOffer) -> Message:
    return Message(
        "%(path)s is not for this hub's platform, %(platform)s, but for: %(known)s. Add "
        "%(platform)s to it.",
        path=path,
        platform=offer.platform,
        known=", ".join(platforms)[:200],
    )


def _refuse_channel(path: str, name: str, offer: CondaOffer) -> Message:
    return Message(
        "%(path)s: this hub does not allow the channel %(channel)s. It allows %(known)s.",
        path=path,
        channel=name[:200],
        known=", ".join(one.name for one in offer.channels.known),
    )


def _refuse(path: str, text: str, why: Message) -> Message:
    return Message(
        "%(path)s: “%(line)s” can't be installed: %(why)s.", path=path, line=text[:200], why=why
    )
