"""A repository at a commit, as BinderHub's addresses have it; pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Spec


def wire_spec(spec: Spec, resolved_ref: str) -> str:
    """Return the escaped path below ``/build/``: ``gh/org/name/<sha>``.

    The ref is always the resolved one: what a person typed may move between our look and
    BinderHub's, may be a short sha, which BinderHub cannot resolve, or an annotated tag, of
    which it takes the tag's object. Raises BuildFailed for a provider that BinderHub lacks.
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
        f"BinderHub knows no repositories of the kind {spec.provider!r}.", code="unknown_provider"
    )
