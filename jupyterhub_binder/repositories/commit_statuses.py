"""Commit statuses: what the API of a git host is sent, and what its answer means.

Who may send one, when, and how often is for `environments` to decide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from jupyterhub_binder.errors import Conflict, NotAllowed, UpstreamUnavailable
from jupyterhub_binder.model.prebuild import CommitState, HookHost
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records.download import Downloads, Reply, read_retry_after
from jupyterhub_binder.repositories.urls import Remote, parse_remote
from jupyterhub_binder.utils.redact import MARK
from jupyterhub_binder.utils.validation import one_line

MAX_DESCRIPTION_CHARACTERS = 140
"""GitHub refuses longer ones; GitLab takes 255."""
MAX_CONTEXT_CHARACTERS = 100
"""GitLab takes 255."""
MAX_URL_CHARACTERS = 255
"""GitLab refuses longer ones."""
_MAX_REPLY_BYTES = 16 * 1024
_MAX_SAID_CHARACTERS = 200
_GITLAB_STATES = {
    CommitState.PENDING: "pending",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
    CommitState.ERROR: "canceled",
}


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """What a commit's page at the host shows."""

    sha: str
    state: CommitState
    context: str
    description: str
    url: str
    """Where it leads."""


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """A request to a host's API."""

    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)


def origin_of(repo_url: str) -> str:
    """Return the host that a repository's token is for: ``https://host``, perhaps with a port.

    Raises NotUnderstood and Conflict.
    """
    remote = parse_remote(repo_url)
    if remote.scheme != "https":
        raise Conflict("Commit statuses need a repository that is fetched over https.")
    return str(Remote(remote.scheme, remote.host, remote.port, ""))


def request_of(kind: HookHost, repo_url: str, status: CommitStatus, token: str) -> StatusRequest:
    """Return the request that sets a status, as the kind of host documents it.

    Raises NotUnderstood and Conflict.
    """
    origin = origin_of(repo_url)
    names = [unquote(each) for each in parse_remote(repo_url).path.strip("/").split("/")]
    names[-1] = names[-1].removesuffix(".git")
    if len(names) < 2:
        raise Conflict("Commit statuses need a repository with an owner: owner/name.")
    if kind is HookHost.GITLAB:
        return _gitlab(origin, names, status, token)
    body = {
        "state": status.state.value,
        "context": status.context,
        "description": status.description,
        "target_url": status.url,
    }
    *folder, owner, name = names
    place = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}/statuses/{status.sha}"
    if kind is HookHost.GITHUB:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        return StatusRequest(_github_api(origin) + place, body, headers)
    # Gitea may be in a folder of its host.
    root = "".join(f"/{quote(each, safe='')}" for each in folder)
    headers = {"Accept": "application/json", "Authorization": f"token {token}"}
    return StatusRequest(f"{origin}{root}/api/v1{place}", body, headers)


def _github_api(origin: str) -> str:
    """Return the address of the API: of GitHub itself, of GHE.com, and of an Enterprise server."""
    host = origin.removeprefix("https://")
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"{origin}/api/v3"


def _gitlab(origin: str, names: list[str], status: CommitStatus, token: str) -> StatusRequest:
    project = quote("/".join(names), safe="")
    body = {
        "state": _GITLAB_STATES[status.state],
        "name": status.context,
        "description": status.description,
        "target_url": status.url,
    }
    url = f"{origin}/api/v4/projects/{project}/statuses/{status.sha}"
    return StatusRequest(url, body, {"Accept": "application/json", "PRIVATE-TOKEN": token})


async def send_status(
    git: Git,
    downloads: Downloads,
    kind: HookHost,
    repo_url: str,
    status: CommitStatus,
    token: str,
) -> None:
    """Set a status once.

    Raises UpstreamUnavailable if another attempt may succeed, perhaps with `retry_after_seconds` in
    its detail. Other errors, such as NotAllowed, are the host's last word.
    """
    request = request_of(kind, repo_url, status, token)
    git.check_host(parse_remote(repo_url))
    reply = await downloads.post_secret(
        request.url, request.body, request.headers, max_bytes=_MAX_REPLY_BYTES
    )
    host = parse_remote(request.url).host
    if not 200 <= reply.status < 300 and not _has_it_already(kind, reply):
        raise _explain(reply, host, token)


def _has_it_already(kind: HookHost, reply: Reply) -> bool:
    """Say whether GitLab refuses a state because the commit has it."""
    told = _said(reply)
    return (
        kind is HookHost.GITLAB
        and reply.status == 400
        and told.startswith("Cannot transition status")
    )


def _explain(reply: Reply, host: str, token: str) -> NotAllowed | UpstreamUnavailable:
    status = reply.status
    wait = read_retry_after(reply.headers.get("Retry-After", ""))
    # GitHub limits requests with 403, too.
    limited = status == 403 and (
        wait is not None or reply.headers.get("X-RateLimit-Remaining") == "0"
    )
    if status == 429 or limited:
        return UpstreamUnavailable(
            "%(host)s limits the number of requests (%(status)s).",
            host=host,
            status=status,
            detail={"retry_after_seconds": wait},
        )
    if status >= 500:
        return UpstreamUnavailable(
            "%(host)s answered with an error (%(status)s).",
            host=host,
            status=status,
            detail={"retry_after_seconds": wait},
        )
    if status == 401:
        return NotAllowed(
            "%(host)s refused the token (401). It may have expired. Give a new one.", host=host
        )
    if status == 403:
        return NotAllowed(
            "%(host)s does not let this token set commit statuses (403). Give one with that "
            "permission.",
            host=host,
        )
    if status == 404:
        return NotAllowed(
            "%(host)s found no such repository or commit (404). The token may not be for this "
            "repository.",
            host=host,
        )
    if 300 <= status < 400:
        return NotAllowed(
            "%(host)s redirected the request (%(status)s), and the token is sent nowhere else. The "
            "repository may have moved.",
            host=host,
            status=status,
        )
    said = _said(reply).replace(token, MARK)[:_MAX_SAID_CHARACTERS]
    return NotAllowed(
        "%(host)s refused the status (%(status)s). %(said)s", host=host, status=status, said=said
    )


def _said(reply: Reply) -> str:
    """Return the host's own words."""
    try:
        found = json.loads(reply.body)
        said = found["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    text = said if isinstance(said, str) else json.dumps(said)
    return one_line(text)
