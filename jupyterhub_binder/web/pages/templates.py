"""The Jinja2 environment, within the hub's `page.html`.

Filters format times, sizes and untrusted text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import jinja2
import jupyterhub
from babel.dates import format_timedelta
from babel.units import format_unit
from jinja2 import meta
from markupsafe import Markup, escape

from jupyterhub_binder.admin import drain, limits, rules
from jupyterhub_binder.admin.columns import Unit
from jupyterhub_binder.environments import gallery, hooks, schedules
from jupyterhub_binder.model import Spec, describe_ref
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.repositories.providers.registry import RECORDS
from jupyterhub_binder.utils import validation as inputs
from jupyterhub_binder.utils.share import share_folder
from jupyterhub_binder.utils.text import INVISIBLE, without_escapes
from jupyterhub_binder.web.i18n.language import day, number, say, spoken, translate_plural
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.failures import owner_label, owner_words

_MINUTE = 60
_MAX_LENGTH = {
    "address": inputs.MAX_ADDRESS_CHARACTERS,
    "name": inputs.MAX_NAME_CHARACTERS,
    "path": inputs.MAX_PATH_CHARACTERS,
    "person": inputs.MAX_PERSON_CHARACTERS,
    "ref": inputs.MAX_REF_CHARACTERS,
    "search": inputs.MAX_SEARCH_CHARACTERS,
    "server": inputs.MAX_SERVER_CHARACTERS,
    "featured": gallery.MAX_TEXT_CHARACTERS,
    "digits": max(len(str(most)) for most in limits.MOST.values()),
    "message": drain.MAX_MESSAGE_CHARACTERS,
    "pattern": rules.MAX_PATTERN_CHARACTERS,
    "reason": rules.MAX_REASON_CHARACTERS,
    "cron": schedules.MAX_CRON_CHARACTERS,
    "token": hooks.MAX_TOKEN_CHARACTERS,
    "zone": schedules.MAX_ZONE_CHARACTERS,
}
"""Maximum length of form fields, the same as the parsers accept."""


def hub_template_folders() -> list[Path]:
    """Return the installed JupyterHub's template folders."""
    return _hub_folders("templates")


def hub_static_folders() -> list[Path]:
    """Return the installed JupyterHub's folders of styles, fonts and scripts."""
    return _hub_folders("static")


def _hub_folders(name: str) -> list[Path]:
    try:
        from jupyterhub._data import DATA_FILES_PATH
    except ImportError:
        return []
    folder = Path(DATA_FILES_PATH) / name
    return [folder] if folder.is_dir() else []


def static_version(folder: Path) -> str:
    """Return a short hash of all files in a folder, and of the JupyterHub beside them."""
    digest = hashlib.sha256(jupyterhub.__version__.encode())
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class HubPageLoader(jinja2.BaseLoader):
    """Loads the hub's templates for a Content-Security-Policy without unsafe-inline.

    Scripts get the nonce. The warning about missing JavaScript is removed.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._files = jinja2.FileSystemLoader([str(folder) for folder in folders])

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return the changed template."""
        source, filename, uptodate = self._files.get_source(environment, template)
        source = re.sub(r"<noscript>.*?</noscript>", "", source, flags=re.DOTALL)
        source = re.sub(r"<script\b(?![^>]*\bnonce=)", '<script nonce="{{ csp_nonce }}"', source)
        return source, filename, uptodate


def make_templates(
    template_paths: Sequence[str | Path] = (), *, hub_templates: Sequence[Path] | None = None
) -> jinja2.Environment:
    """Return the Jinja2 environment.

    `template_paths` are an admin's and come first; `hub_templates` replaces the hub's. With an
    empty list, our own frame is used.
    """
    found = hub_template_folders() if hub_templates is None else hub_templates
    hub = HubPageLoader(found)
    ours = jinja2.FileSystemLoader(str(share_folder() / "templates"))
    loaders = [
        jinja2.PrefixLoader({"binder": ours, "templates": hub}),
        HubPageLoader([Path(path) for path in template_paths]),
        hub,
    ]
    templates = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    templates.policies["ext.i18n.trimmed"] = True
    install = templates.install_gettext_callables  # type: ignore[attr-defined]
    install(_, translate_plural, newstyle=True)
    templates.filters.update(_FILTERS)
    templates.globals["max_length"] = _MAX_LENGTH
    templates.globals["layout"] = _layout(templates)
    return templates


def _layout(templates: jinja2.Environment) -> str:
    """Return the hub's frame if it has our blocks, else ours."""
    try:
        blocks = _blocks(templates, "page.html", set())
    except jinja2.TemplateError:
        return "binder/frame.html"
    fits = {"title", "main", "stylesheet", "script", "nav_bar_left_items"} <= blocks
    return "page.html" if fits else "binder/frame.html"


def _blocks(templates: jinja2.Environment, name: str, seen: set[str]) -> set[str]:
    """Return the block names of a template and its parents."""
    if name in seen or templates.loader is None:
        return set()
    seen.add(name)
    blocks = set(templates.get_template(name).blocks)
    tree = templates.parse(templates.loader.get_source(templates, name)[0])
    for other in meta.find_referenced_templates(tree):
        blocks |= _blocks(templates, other, seen) if other else set()
    return blocks


# --- Filters ----------------------------------------------------------------------------------


def ago(then: datetime, now: datetime | None = None) -> str:
    """Format a time: ``3 minutes ago``, ``14 May 2025``. Scripts do the same (times.js)."""
    age = (now or datetime.now(UTC)) - then
    if age < timedelta(seconds=45):
        return _("just now")
    if age < timedelta(days=25):
        return format_timedelta(-age, granularity="minute", add_direction=True, locale=spoken())
    return day(then.date())


def when(then: datetime | None) -> Markup:
    """Return a `time` element: relative text, exact tooltip. Scripts update it."""
    if then is None:
        return Markup("")
    utc = then.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S} UTC", ago(then)
    )


def clock(seconds: float | None) -> str:
    """Format a duration: ``1:24``, ``1:02:03``."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(max(0, seconds)), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float | None) -> str:
    """Format an estimate, as a build that runs shows it: ``about 1:24``."""
    return "" if seconds is None else _("about %(time)s", time=clock(seconds))


_SIZES: tuple[tuple[str, Literal["long", "short"], str], ...] = (
    ("digital-byte", "long", "#,##0"),
    ("digital-kilobyte", "short", "#,##0"),
    ("digital-megabyte", "short", "#,##0"),
    ("digital-gigabyte", "short", "#,##0.0"),
    ("digital-terabyte", "short", "#,##0.0"),
)


def size(count: int | None) -> str:
    """Format bytes: ``1.2 GB``."""
    if count is None:
        return ""
    power = min(len(_SIZES) - 1, (len(str(count)) - 1) // 3)
    unit, length, pattern = _SIZES[power]
    value = count / 1000**power
    return format_unit(value, unit, length=length, format=pattern, locale=spoken())


def short(ref: str) -> str:
    """Shorten a commit to seven digits."""
    return ref[:7] if re.fullmatch(r"[0-9a-f]{40,64}", ref) else ref


def typed_ref(spec: Spec) -> str:
    """Return ``main``, ``pull request #12``, or "" if none was typed."""
    if spec.provider in RECORDS and spec.ref == "HEAD":
        return ""
    return describe_ref(spec.ref) or spec.ref


def visible(text: str | None) -> Markup:
    """Isolate text for bidi and show invisible characters."""
    parts: list[Markup] = []
    position = 0
    value = text or ""
    for match in INVISIBLE.finditer(value):
        parts.append(escape(value[position : match.start()]))
        code = f"U+{ord(match.group()):04X}"
        parts.append(Markup('<span class="b-unseen" title="{}">{}</span>').format(code, code))
        position = match.end()
    parts.append(escape(value[position:]))
    return Markup("<bdi>{}</bdi>").format(Markup("").join(parts))


def person(name: str | None) -> Markup:
    """Name a person, a service, or the hub itself, which has what its configuration lists."""
    return visible(_("this hub") if name == HUB_OWNER else name)


def plain(text: str) -> str:
    """Return a log line without ANSI codes."""
    return without_escapes(text).rstrip("\r")


_UNITS: dict[Unit, Callable[[Any], str]] = {
    Unit.COUNT: number,
    Unit.SECONDS: clock,
    Unit.BYTES: size,
}


def in_unit(value: Any, unit: Unit) -> str:
    """Write a value of an administrators' table."""
    return _UNITS[unit](value)


_FILTERS: dict[str, Callable[..., Any]] = {
    "when": when,
    "day": lambda then: day(then.date()),
    "date": day,
    "clock": clock,
    "about": about,
    "size": size,
    "short": short,
    "typed_ref": typed_ref,
    "visible": visible,
    "person": person,
    "plain": plain,
    "number": number,
    "unit": in_unit,
    "capital": lambda text: f"{text[:1].upper()}{text[1:]}",
    "said": say,
    "owner_words": owner_words,
    "owner_label": owner_label,
    "one_line": inputs.one_line,
}
