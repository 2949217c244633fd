"""What pages say about a failed build. Pure."""

from __future__ import annotations

from jupyterhub_binder.model import Build
from jupyterhub_binder.model.failures import Owner
from jupyterhub_binder.utils.text import one_line
from jupyterhub_binder.web.i18n.language import N_, say
from jupyterhub_binder.web.i18n.language import gettext as _

_OWNERS = {
    Owner.REPOSITORY: N_("The cause is in the repository."),
    Owner.HUB: N_("The cause is at this hub. Its administrators can fix it."),
    Owner.NETWORK: N_("The cause is another host or the network. Building again later may help."),
}
OWNER_LABELS = {
    Owner.REPOSITORY: N_("Repository"),
    Owner.HUB: N_("This hub"),
    Owner.NETWORK: N_("Network"),
}


def owner_words(owner: Owner) -> str:
    """Say whose business a failure is."""
    return _(_OWNERS[owner])


def owner_label(owner: Owner) -> str:
    """Name whose business a failure is, for tables."""
    return _(OWNER_LABELS[owner])


def note_for_admin(build: Build, page: str) -> str:
    """Return what an administrator needs to look into a failure, as text to send."""
    reason = build.reason
    told = reason.explanation if reason else None
    facts = [
        (_("Build"), page),
        (_("Repository"), f"{build.repo_url} ({build.resolved_ref})"),
        (_("Backend"), build.backend),
        (_("Failed"), build.finished.isoformat(timespec="seconds") if build.finished else ""),
        (_("Reason"), say(reason.message) if reason else ""),
        (_("Line %(number)s", number=reason.seq if reason else 0), told.line if told else ""),
        (_("Rule"), told.rule if told else ""),
        (_("Fingerprint"), told.fingerprint if told else ""),
    ]
    return "\n".join(f"{name}: {one_line(value)}" for name, value in facts if value)
