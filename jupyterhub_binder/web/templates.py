"""The Jinja2 environment of the pages: our templates inside the hub's own `page.html`.

Finds both sets of files, and holds the filters that put times, sizes and hostile text into
words. What a page shows is decided in `views` and `pages`.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta
from markupsafe import Markup, escape

import jupyterhub_binder
from jupyterhub_binder import drain, inputs, limits, rules
from jupyterhub_binder.escapes import without_escapes
from jupyterhub_binder.model import Spec, describe_ref
from jupyterhub_binder.providers import RECORDS
from jupyterhub_binder.web.i18n import day, ngettext, number, translate_plural
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.sentences import say

_SHARE = "share/jupyterhub-binder"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MOST = {
    "address": inputs.MOST_ADDRESS_CHARACTERS,
    "name": inputs.MOST_NAME_CHARACTERS,
    "path": inputs.MOST_PATH_CHARACTERS,
    "person": inputs.MOST_PERSON_CHARACTERS,
    "ref": inputs.MOST_REF_CHARACTERS,
    "search": inputs.MOST_SEARCH_CHARACTERS,
    "server": inputs.MOST_SERVER_CHARACTERS,
    "digits": max(len(str(most)) for most in limits.MOST.values()),
    "message": drain.MOST_MESSAGE_CHARACTERS,
    "pattern": rules.MOST_PATTERN_CHARACTERS,
    "reason": rules.MOST_REASON_CHARACTERS,
}
"""How many characters a field takes: what its reader takes, and no fewer."""


def share_folder() -> Path:
    """Return the folder of our templates and static files, of a checkout or as installed."""
    beside = Path(jupyterhub_binder.__file__).resolve().parent.parent / _SHARE
    return beside if beside.is_dir() else Path(sys.prefix) / _SHARE


def hub_template_folders() -> list[Path]:
    """Return where the installed JupyterHub keeps its templates; empty where there are none."""
    try:
        from jupyterhub._data import DATA_FILES_PATH
    except ImportError:
        return []
    folder = Path(DATA_FILES_PATH) / "templates"
    return [folder] if folder.is_dir() else []


def static_version(folder: Path) -> str:
    """Return a short hash of all files of a folder: it changes when one of them does."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class HubPageLoader(jinja2.BaseLoader):
    """The hub's templates, made fit for a Content-Security-Policy without unsafe-inline.

    Each script element gets the nonce of the answer; the sentence that says that
    JupyterHub needs JavaScript is left out, for these pages do not.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._files = jinja2.FileSystemLoader([str(folder) for folder in folders])

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return a template's text, changed as the class says."""
        source, filename, uptodate = self._files.get_source(environment, template)
        source = re.sub(r"<noscript>.*?</noscript>", "", source, flags=re.DOTALL)
        source = re.sub(r"<script\b(?![^>]*\bnonce=)", '<script nonce="{{ csp_nonce }}"', source)
        return source, filename, uptodate


def make_templates(
    template_paths: Sequence[str | Path] = (), *, hub_templates: Sequence[Path] | None = None
) -> jinja2.Environment:
    """Return the environment in which the pages are rendered.

    `template_paths` are an admin's own templates, looked at before the hub's, as the hub's
    option of the same name. Ours are under ``binder/``. `hub_templates` replaces the folders
    of the installed hub (an empty list: the pages stand on their own frame).
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
    templates.globals["most"] = _MOST
    templates.globals["layout"] = _layout(templates)
    return templates


def _layout(templates: jinja2.Environment) -> str:
    """Return the frame that pages extend: the hub's, if it has the blocks that they fill."""
    try:
        blocks = _blocks(templates, "page.html", set())
    except jinja2.TemplateError:
        return "binder/frame.html"
    fits = {"title", "main", "stylesheet", "script", "nav_bar_left_items"} <= blocks
    return "page.html" if fits else "binder/frame.html"


def _blocks(templates: jinja2.Environment, name: str, seen: set[str]) -> set[str]:
    """Return the names of a template's blocks, and of those that it extends or includes."""
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
    """Return a time in words, seen from now: ``3 minutes ago``, ``14 May 2025``."""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < 45:
        return _("just now")
    minutes, hours, days = (max(1, round(seconds / unit)) for unit in (_MINUTE, _HOUR, _DAY))
    if minutes < 60:
        return ngettext("%(num)s minute ago", "%(num)s minutes ago", minutes)
    if hours < 24:
        return ngettext("%(num)s hour ago", "%(num)s hours ago", hours)
    if days < 30:
        return ngettext("%(num)s day ago", "%(num)s days ago", days)
    return day(then.date())


def when(then: datetime | None) -> Markup:
    """Return a `time` element: in words, exact in its tooltip; scripts keep it true."""
    if then is None:
        return Markup("")
    utc = then.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S} UTC", ago(then)
    )


def clock(seconds: float | None) -> str:
    """Return a duration as on a clock: ``1:24``, ``1:02:03``."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(max(0, seconds)), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float | None) -> str:
    """Return a rough duration in words: ``about 2 minutes``."""
    if seconds is None:
        return ""
    if seconds < 50:
        some = max(5, round(seconds / 5) * 5)
        return ngettext("about %(num)s second", "about %(num)s seconds", some)
    minutes = max(1, round(seconds / _MINUTE))
    return ngettext("about %(num)s minute", "about %(num)s minutes", minutes)


def size(count: int | None) -> str:
    """Return a number of bytes in decimal units: ``1.2 GB``."""
    if count is None:
        return ""
    value = float(count)
    for unit in (_("bytes"), "kB", "MB"):
        if value < 1000:
            return f"{number(value)} {unit}"
        value /= 1000
    return (
        f"{number(value, places=1)} GB" if value < 1000 else f"{number(value / 1000, places=1)} TB"
    )


def short(ref: str) -> str:
    """Return the first seven digits of a commit; other refs as they are."""
    return ref[:7] if re.fullmatch(r"[0-9a-f]{40,64}", ref) else ref


def typed_ref(spec: Spec) -> str:
    """Return a ref as people call it: ``main``, ``pull request #12``; empty where none is typed."""
    if spec.provider in RECORDS and spec.ref == "HEAD":
        return ""
    return describe_ref(spec.ref) or spec.ref


_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def visible(text: str | None) -> Markup:
    """Return a text isolated from its surroundings, its invisible characters made visible."""
    parts: list[Markup] = []
    position = 0
    value = text or ""
    for match in _UNSEEN.finditer(value):
        parts.append(escape(value[position : match.start()]))
        code = f"U+{ord(match.group()):04X}"
        parts.append(Markup('<span class="b-unseen" title="{}">{}</span>').format(code, code))
        position = match.end()
    parts.append(escape(value[position:]))
    return Markup("<bdi>{}</bdi>").format(Markup("").join(parts))


def plain(text: str) -> str:
    """Return a log line without its terminal codes."""
    return without_escapes(text).rstrip("\r")


_FILTERS: dict[str, Callable[..., Any]] = {
    "when": when,
    "clock": clock,
    "about": about,
    "size": size,
    "short": short,
    "typed_ref": typed_ref,
    "visible": visible,
    "plain": plain,
    "number": number,
    "said": say,
    "one_line": inputs.one_line,
}
