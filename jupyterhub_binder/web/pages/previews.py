"""Template variables for previews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub_binder.model import Resolved, Severity, describe_ref
from jupyterhub_binder.utils.names import another_name
from jupyterhub_binder.web.i18n.language import N_, ngettext, number, say
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler

if TYPE_CHECKING:
    from jupyterhub_binder.environments.previews import BackendWay, Preview
    from jupyterhub_binder.environments.service import Limit


_REF_WORDS = {
    "branch": N_("Branch"),
    "tag": N_("Tag"),
    "commit": N_("Commit"),
    "version": N_("Version"),
}


_LONG_SECONDS = 90
"""From here on, an estimate is in minutes."""

_NEAR = 0.8
"""The share of a limit from which people are told of it."""


async def preview_values(handler: PageHandler, preview: Preview) -> dict[str, Any]:
    """Return the variables of ``preview.html`` from the store only."""
    limits = await handler.services.environments.limits(handler.me)
    provider = handler.services.providers[preview.resolved.spec.provider]
    return {
        "preview": preview,
        "preview_problems": [f for f in preview.findings if f.severity is Severity.PROBLEM],
        "findings": [f for f in preview.findings if not (preview.built and f.code == "unpinned")],
        "suggested_name": another_name(preview.kept.name)
        if preview.kept
        else preview.suggested_name,
        "files": _files(preview),
        "made_words": _made_words(preview),
        "ways": [(way.backend.name, _way_words(way)) for way in preview.ways],
        "ref_word": _ref_word(preview.resolved),
        "takes_ref": provider.takes_ref,
        "provider_name": provider.display_name,
        "is_image": not provider.has_files,
        "has_files": provider.has_files or bool(preview.content_url),
        "limit_words": _limit_words(limits.get("builds")),
    }


def _made_words(preview: Preview) -> str:
    """Return ``Python packages only: made as a folder, about 8 seconds``; empty without a choice."""
    chosen = next((one for one in preview.ways if one.backend is preview.choice.backend), None)
    if chosen is None:
        return ""
    made = say(chosen.backend.made) if preview.built else _way_words(chosen)
    why = preview.choice.why
    return _("%(why)s: %(made)s", why=say(why), made=made) if why else made


def _way_words(way: BackendWay) -> str:
    return _("%(made)s, %(time)s", made=say(way.backend.made), time=_time_words(way))


def _time_words(way: BackendWay) -> str:
    seconds = way.expected_seconds
    if seconds is None:
        return say(way.backend.pace)
    if seconds < _LONG_SECONDS:
        return ngettext("about %(num)s second", "about %(num)s seconds", max(1, round(seconds)))
    return ngettext("about %(num)s minute", "about %(num)s minutes", round(seconds / 60))


def _ref_word(resolved: Resolved) -> str:
    """Return ``Branch``, ``Pull request``."""
    request = describe_ref(resolved.spec.ref).rpartition(" ")[0]
    return request.capitalize() or _REF_WORDS.get(resolved.ref_kind, "Version")


def _files(preview: Preview) -> list[dict[str, Any]]:
    """Return files with the backend's use of each."""
    actions = {action.path: action for action in preview.assessment.actions}
    refused = {each.path for each in preview.findings if each.severity is Severity.PROBLEM}
    files = []
    for file in preview.recipe.files:
        action = actions.get(file.path)
        words = (
            N_("Can't be used here")
            if file.path in refused
            else action.action
            if action
            else ("" if file.used else N_("Not used: another file takes precedence"))
        )
        supported = action.supported if action else True
        files.append(
            {"path": file.path, "used": file.used, "supported": supported, "action": words}
        )
    return files


def _limit_words(limit: Limit | None) -> str:
    """Return the builds and limit once most of it is used."""
    if limit is None or limit.limit is None or limit.used < _NEAR * limit.limit:
        return ""
    return _(
        "Your builds waiting or running: %(used)s of %(limit)s.",
        used=number(limit.used),
        limit=number(limit.limit),
    )
