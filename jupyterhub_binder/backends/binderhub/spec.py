"""Converts a resolved repository to BinderHub's path. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Spec


def wire_spec(spec: Spec, resolved_ref: str) -> str:
    """Return the escaped path below ``/build/``: ``gh/owner/name/<sha>``.

    It uses the resolved commit: a branch may move, and BinderHub can't resolve short SHAs or
    annotated tags. Raises BuildFailed for an unsupported provider.
    """
    ref = quote(resolved_ref, safe="")
    match spec.provider:
        case "gh" | "gist":
            return f"{spec.provider}/{quote(spec.repo)}/{ref}"
        case "gl" | "git":
            return f"{spec.provider}/{quote(spec.repo, safe='')}/{ref}"
        case "zenodo" if resolved_ref.isdecimal() and "zenodo." in spec.repo:
            # The DOI of all versions means the newest: name the version.
            return f"zenodo/{quote(spec.repo.partition('zenodo.')[0])}zenodo.{resolved_ref}"
        case "figshare" if re.fullmatch(r"\d+\.v\d+", resolved_ref) and "figshare." in spec.repo:
            # Without a version repo2docker takes the first, not the newest.
            return f"figshare/{quote(spec.repo.partition('figshare.')[0])}figshare.{resolved_ref}"
        case "zenodo" | "figshare" | "dataverse" | "hydroshare":
            return f"{spec.provider}/{quote(spec.repo)}"
        case "ckan":
            return f"{spec.provider}/{quote(spec.repo, safe='')}"
    raise BuildFailed(
        "BinderHub does not support repositories of type '%(kind)s'.",
        kind=spec.provider,
        code="unknown_provider",
    )
