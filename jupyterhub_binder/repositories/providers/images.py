"""Container images that a registry has already: nothing of them is built anew.

To builders that read files, an image is a repository with one Dockerfile, which names the image by
its digest. So it is tried, kept, shared and updated like any other environment.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from traitlets import List, TraitError, Unicode, validate
from yarl import URL

from jupyterhub_binder.errors import NotAllowed, NotUnderstood, RepositoryNotFound
from jupyterhub_binder.model import PUBLISHED_IMAGES, Link, Resolved, Spec
from jupyterhub_binder.repositories.identity import canonical
from jupyterhub_binder.repositories.links.address import take_apart
from jupyterhub_binder.repositories.providers.records import Odd, RecordProvider, text_at
from jupyterhub_binder.repositories.records.checkout import Listing
from jupyterhub_binder.repositories.records.download import Site
from jupyterhub_binder.repositories.urls import host_matches, parse_remote
from jupyterhub_binder.utils.oci import MANIFEST_TYPES, read_challenge

DOCKER_HUB = "docker.io"
_API_HOSTS = {DOCKER_HUB: "registry-1.docker.io"}
"""Registries whose API has another host than their images' names."""
_LATEST = "latest"
_MAX_NAME = 255
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    r"(?P<first>[A-Za-z0-9.:-]+/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@sha256:(?P<digest>[0-9a-f]{64}))?",
    re.ASCII,
)
_SCHEME = re.compile(r"(?:docker|oci)://|docker\s+pull\s+", re.IGNORECASE)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_HEX = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)


class ImageProvider(RecordProvider):
    """Images in container registries, by tag or digest."""

    prefix = PUBLISHED_IMAGES
    display_name = "Container registries"
    placeholder = "docker://quay.io/jupyter/minimal-notebook:latest"
    hostname: ClassVar[str] = ""
    has_files: ClassVar[bool] = False
    needs_containers: ClassVar[bool] = True

    hosts = List(
        Unicode(),
        [DOCKER_HUB, "quay.io", "ghcr.io", "registry.gitlab.com"],
        help="""
        Registries whose images may be used, such as `quay.io` or `*.example.org`. Images must be
        public. `Git.allowed_hosts` applies too if it is set, and `Git.private_hosts` names
        registries that may have an address in your own network. Empty: every public registry.
        Default: Docker Hub (`docker.io`), quay.io, ghcr.io and registry.gitlab.com.
        """,
    ).tag(config=True)

    @validate("tokens")
    def _refuse_tokens(self, proposal: Mapping[str, Any]) -> dict[str, str]:
        if proposal["value"]:
            raise TraitError(
                "ImageProvider.tokens is not supported: only public images can be used."
            )
        return proposal["value"]

    def parse_spec(self, text: str) -> Spec:
        """Read an image's name, with tag or digest, also percent-encoded. Raises NotUnderstood.

        A name without slash is refused, because people write ``docker/compose`` for a repository.
        """
        name = unquote(text)
        if "/" not in name:
            raise _no_name()
        return Spec(self.prefix, _parse_name(name))

    def format_spec(self, spec: Spec) -> str:
        """Write the image's name; at a resolved_ref, by digest."""
        name = spec.repo
        if _HEX.fullmatch(spec.ref):
            name = f"{_without_tag(name)}@sha256:{spec.ref}"
        return quote(name, safe="")

    def parse_text(self, text: str) -> Link | None:
        """Read ``docker://name`` and ``docker pull name``."""
        scheme = _SCHEME.match(text)
        return Link(Spec(self.prefix, _parse_name(text[scheme.end() :]))) if scheme else None

    def parse_url(self, url: str) -> Link | None:
        """Read an image's page on Docker Hub or Quay."""
        place = take_apart(url)
        match (place.host, *place.segments):
            case ("hub.docker.com", "r", owner, name, *_):
                return Link(self.parse_spec(f"{DOCKER_HUB}/{owner}/{name}"))
            case ("hub.docker.com", "_", name, *_):
                return Link(self.parse_spec(f"{DOCKER_HUB}/library/{name}"))
            case ("quay.io", "repository", owner, name, *_):
                return Link(self.parse_spec(f"quay.io/{owner}/{name}"))
        return None

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return the image's name without tag."""
        return (canonical(f"https://{_without_tag(spec.repo)}"),)

    def owned_hosts(self) -> tuple[str, ...]:
        """Return none: a registry's host may be a Git host, too."""
        return ()

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Ask the registry for the digest, even if it is given."""
        name = _without_tag(spec.repo)
        host, _, path = name.partition("/")
        wanted = _HEX.fullmatch(spec.ref) and f"sha256:{spec.ref}"
        digest = await self._fetch_digest(host, path, wanted or _version_of(spec.repo))
        return self.resolved(
            spec,
            digest,
            page=f"https://{name}",
            title=path.rpartition("/")[2],
            label=spec.repo,
            repo_url=_page_of(host, path),
        )

    async def _fetch_digest(self, host: str, path: str, version: str) -> str:
        self._require_allowed(host)
        what = f"{host}/{path}:{version}"
        api = _API_HOSTS.get(host, host)
        url = URL(f"{_scheme_of(api)}://{api}/v2/{path}/manifests/{version}")
        status, headers = await self._ask(url, what, {})
        if status == 401:
            token = await self._fetch_token(headers, path, what)
            status, headers = await self._ask(url, what, {"Authorization": f"Bearer {token}"})
        if status == 401:
            raise RepositoryNotFound(
                "%(host)s does not give access to %(what)s. It may not exist, or it is private.",
                host=host,
                what=what,
            )
        found = _DIGEST.fullmatch(headers.get("Docker-Content-Digest", ""))
        if found is None or (version.startswith("sha256:") and found[0] != version):
            raise Odd(host, what)
        return found[1]

    def _require_allowed(self, host: str) -> None:
        if self.hosts and not host_matches(parse_remote(f"https://{host}/-"), self.hosts):
            raise NotAllowed(
                "This hub does not use images from %(host)s, only from %(known)s. Ask an "
                "administrator to allow it.",
                host=host,
                known=", ".join(self.hosts),
            )
        self.git.check_host(parse_remote(f"https://{host}/-"))

    async def _ask(
        self, url: URL, what: str, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str]]:
        return await self._web.fetch_headers(
            url,
            Site((url.authority,)),
            what=what,
            headers={"Accept": MANIFEST_TYPES, **headers},
            passes=frozenset({401}),
        )

    async def _fetch_token(self, headers: Mapping[str, str], path: str, what: str) -> str:
        """Ask for the token that a registry gives anybody for a public image."""
        scheme, asked = read_challenge(headers.get("WWW-Authenticate", ""))
        query = {"service": asked.get("service", ""), "scope": f"repository:{path}:pull"}
        if scheme != "bearer" or not asked.get("realm"):
            raise RepositoryNotFound(
                "%(what)s is not public. This hub can use only public images.", what=what
            )
        answer = await self._web.fetch_json(asked["realm"], Site(), what=what, **query)
        token = text_at(answer, "token") or text_at(answer, "access_token")
        if not _TOKEN.fullmatch(token):
            raise Odd(what.partition("/")[0], what)
        return token

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """Return the Dockerfile that makes the image, without a question."""
        image = resolved.published_image
        return Listing(
            title=image,
            time=_UNKNOWN_TIME,
            files=(),
            texts={"Dockerfile": f"FROM {image}\n"},
        )


def _no_name() -> NotUnderstood:
    return NotUnderstood(
        "That is not the name of a container image. Example: %(example)s.",
        example=ImageProvider.placeholder,
    )


def _parse_name(text: str) -> str:
    """Return ``host/path:tag`` or ``host/path@sha256:…``. Raises NotUnderstood."""
    found = _NAME.fullmatch(text.strip()) if len(text) <= _MAX_NAME + 200 else None
    if found is None:
        raise _no_name()
    first, path = (found["first"] or "").rstrip("/"), found["path"]
    if first and not ("." in first or ":" in first or first == "localhost"):
        first, path = "", f"{first}/{path}"
    host = first.lower() or DOCKER_HUB
    if host in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    remote = parse_remote(f"https://{host}/{path}")  # refuses an invalid host
    name = f"{remote.host if remote.port == 443 else host}/{path}"
    if found["digest"]:
        return f"{name}@sha256:{found['digest']}"
    return f"{name}:{found['tag'] or _LATEST}"


def _without_tag(name: str) -> str:
    name = name.partition("@")[0]
    before, slash, last = name.rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}"


def _version_of(name: str) -> str:
    """Return the digest, ``sha256:…``, or the tag."""
    return name.partition("@")[2] or name.rpartition(":")[2]


def _page_of(host: str, path: str) -> str:
    if host == DOCKER_HUB:
        return f"https://hub.docker.com/r/{path}".replace("/r/library/", "/_/")
    return f"https://quay.io/repository/{path}" if host == "quay.io" else f"https://{host}/{path}"


def _scheme_of(host: str) -> str:
    """Return http for this machine's own registries, as container engines do."""
    try:
        local = ipaddress.ip_address(URL(f"https://{host}").host or "").is_loopback
    except ValueError:
        local = False
    return "http" if local else "https"
