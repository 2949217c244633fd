"""What the pages of a new environment and of a link say of what would be built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub_binder.model import Resolved, Severity, describe_ref
from jupyterhub_binder.slugs import another_name
from jupyterhub_binder.web.i18n import N_, ngettext
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler

if TYPE_CHECKING:
    from jupyterhub_binder.environments import Limit
    from jupyterhub_binder.previews import Preview


_REF_WORDS = {
    "branch": N_("Branch"),
    "tag": N_("Tag"),
    "commit": N_("Commit"),
    "version": N_("Version"),
}


async def preview_values(handler: PageHandler, preview: Preview) -> dict[str, Any]:
    """Return what ``preview.html`` and the buttons below it are told. Asks the store alone."""
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
        "ref_word": _ref_word(preview.resolved),
        "takes_ref": provider.takes_ref,
        "provider_name": provider.display_name,
        "limit_words": _limit_words(limits.get("builds")),
    }


def _ref_word(resolved: Resolved) -> str:
    """Return what kind of ref it is: ``Branch``, ``Pull request``."""
    request = describe_ref(resolved.spec.ref).rpartition(" ")[0]
    return request.capitalize() or _REF_WORDS.get(resolved.ref_kind, "Version")


def _files(preview: Preview) -> list[dict[str, Any]]:
    """Join the recipe's files with what the backend will do with each."""
    actions = {action.path: action for action in preview.assessment.actions}
    files = []
    for file in preview.recipe.files:
        action = actions.get(file.path)
        words = (
            action.action if action else ("" if file.used else N_("Not used: another file counts"))
        )
        supported = action.supported if action else True
        files.append(
            {"path": file.path, "used": file.used, "supported": supported, "action": words}
        )
    return files


def _limit_words(limit: Limit | None) -> str:
    """Say how many builds a person may have under way; nothing where there is no limit."""
    if limit is None or limit.limit is None:
        return ""
    most = ngettext(
        "You may have %(num)s build waiting or running.",
        "You may have %(num)s builds waiting or running.",
        limit.limit,
    )
    used = _("Now you have %(num)s.", num=limit.used) if limit.used else _("Now you have none.")
    return f"{most} {used}"
