"""Images in registries: names, the registry's answers, and what builders get of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from traitlets import TraitError
from traitlets.config import Config

from jupyterhub_binder.errors import (
    BinderError,
    NotAllowed,
    NotUnderstood,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.links.binder import format_binder_link
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.recipe import read_recipe

HEX = "0123456789abcdef" * 4


@dataclass
class FakeRegistry:
    """Answers as Docker Hub does: a token first, then the manifest's digest."""

    host: str = ""
    images: dict[str, str] = field(default_factory=dict)
    """Digests by ``path:version``."""
    challenge: str = 'Bearer realm="http://{host}/token",service="registry"'
    breaks: bool = False
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        if self.breaks and request.transport:
            request.transport.close()
        if request.path == "/token":
            return web.json_response({"token": f"for {request.query['scope']}".replace(" ", "-")})
        path, _, version = request.path.removeprefix("/v2/").partition("/manifests/")
        if request.headers.get("Authorization") != f"Bearer for-repository:{path}:pull":
            header = self.challenge.format(host=self.host)
            return web.Response(status=401, headers={"WWW-Authenticate": header})
        digest = self.images.get(f"{path}:{version}")
        if digest is None:
            return web.Response(status=404)
        return web.Response(headers={"Docker-Content-Digest": digest})


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
    yield registry
    await runner.cleanup()


@pytest.fixture
async def providers(registry: FakeRegistry) -> AsyncIterator[Providers]:
    c = Config()
    c.ImageProvider.hosts = [registry.host]
    git = Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])
    providers = Providers(git=git, config=c)
    yield providers
    await providers.stop()


offline = Providers(git=Git())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker://quay.io/jupyter/minimal-notebook:2026-01-05", None),
        ("docker://quay.io/jupyter/minimal-notebook", "quay.io/jupyter/minimal-notebook:latest"),
        ("oci://ghcr.io/org/a/b:x", "ghcr.io/org/a/b:x"),
        ("docker pull python:3.13", "docker.io/library/python:3.13"),
        ("docker://jupyter/base:1", "docker.io/jupyter/base:1"),
        ("docker://localhost:5000/x:1", "localhost:5000/x:1"),
        (f"docker://quay.io/org/x:1@sha256:{HEX}", f"quay.io/org/x@sha256:{HEX}"),
        ("https://hub.docker.com/r/org/name/tags", "docker.io/org/name:latest"),
        ("https://hub.docker.com/_/python", "docker.io/library/python:latest"),
        ("https://quay.io/repository/org/name?tab=tags", "quay.io/org/name:latest"),
    ],
)
def test_an_image_is_understood_and_its_link_read_again(text: str, name: str | None) -> None:
    link = offline.understand(text)
    assert link == Link(Spec("docker", name or text.removeprefix("docker://")))
    binder = format_binder_link(offline["docker"], link)
    assert offline.understand(f"https://hub.example.org/services/binder/{binder}") == link


@pytest.mark.parametrize(
    "text",
    [
        "docker://",
        "docker://Quay.io/Org/Name",
        "docker://quay.io/../x",
        "docker://quay.io/x\nRUN id",
        "docker://user:pw@quay.io/x",
        "docker://quay.io/x@sha256:12",
        f"docker://quay.io/{'a' * 500}",
    ],
)
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        offline.understand(text)


def test_a_repository_of_an_owner_called_docker_stays_one() -> None:
    assert offline.understand("docker/compose").spec == Spec("gh", "docker/compose")


def test_backends_that_make_folders_offer_no_images() -> None:
    folders = Providers(git=Git(), containers=False)
    assert "docker" not in {each.prefix for each in folders}
    with pytest.raises(NotUnderstood):
        folders.understand("docker://quay.io/org/name")


async def test_a_tag_becomes_a_dockerfile_with_its_digest(
    registry: FakeRegistry, providers: Providers, tmp_path: Path
) -> None:
    registry.images["org/name:1"] = f"sha256:{HEX}"
    _, resolved = await providers.resolve_link(
        providers.understand(f"docker://{registry.host}/org/name:1")
    )
    assert resolved.resolved_ref == HEX
    assert resolved.default_name == "name"
    assert [each.partition(" ")[0] for each in registry.asked] == ["HEAD", "GET", "HEAD"]
    fetcher = Fetcher(git=providers.git, archives=providers, free_bytes=0)
    commit = await fetcher.checkout(resolved, tmp_path / "checkout")
    text = (tmp_path / "checkout/Dockerfile").read_text()
    assert text == f"FROM {registry.host}/org/name@sha256:{HEX}\n"
    assert commit.short == HEX[:7]
    async with fetcher.peek(resolved) as peek:
        recipe = read_recipe(peek.path)
    assert recipe.buildpack == "docker"
    # A link of the built image names the digest, which the registry is asked for again.
    pinned = providers["docker"].format_spec(Spec("docker", resolved.spec.repo, HEX))
    registry.images[f"org/name:sha256:{HEX}"] = f"sha256:{HEX}"
    assert (await providers.resolve(providers.parse_spec("docker", pinned))).resolved_ref == HEX


@pytest.mark.parametrize(
    ("image", "digest", "challenge", "error"),
    [
        ("org/other:1", None, None, RepositoryNotFound),
        ("org/name:1", "md5:12", None, UpstreamUnavailable),
        ("org/name:1", None, 'Basic realm="x"', RepositoryNotFound),
        ("org/name:1", None, 'Bearer realm="http://10.0.0.1/token"', NotAllowed),
    ],
)
async def test_what_a_registry_refuses_is_said(
    registry: FakeRegistry,
    providers: Providers,
    image: str,
    digest: str | None,
    challenge: str | None,
    error: type[BinderError],
) -> None:
    registry.images["org/name:1"] = digest or f"sha256:{HEX}"
    registry.challenge = challenge or registry.challenge
    with pytest.raises(error):
        await providers.resolve(providers.understand(f"docker://{registry.host}/{image}").spec)


async def test_only_the_admins_registries_are_asked(
    registry: FakeRegistry, providers: Providers
) -> None:
    with pytest.raises(NotAllowed, match=r"quay\.io, only from"):
        await providers.resolve(providers.understand("docker://quay.io/org/name").spec)
    assert registry.asked == []


async def test_a_registry_can_not_give_another_image_for_a_digest(
    registry: FakeRegistry, providers: Providers
) -> None:
    registry.images = {f"org/x:sha256:{HEX}": f"sha256:{HEX[::-1]}"}
    with pytest.raises(UpstreamUnavailable):
        await providers.resolve(Spec("docker", f"{registry.host}/org/x@sha256:{HEX}"))


async def test_a_registry_that_breaks_the_connection_is_unavailable(
    registry: FakeRegistry, providers: Providers
) -> None:
    registry.breaks = True
    with pytest.raises(UpstreamUnavailable, match="broke"):
        await providers.resolve(Spec("docker", f"{registry.host}/org/x:1"))


def test_a_banned_image_is_refused_with_any_tag() -> None:
    c = Config()
    c.ImageProvider.banned = ["quay.io/spam/*"]
    providers = Providers(git=Git(), config=c)
    with pytest.raises(NotAllowed):
        providers.check(providers.understand("docker://quay.io/spam/miner:9").spec)


def test_tokens_are_refused_because_nothing_would_use_them() -> None:
    c = Config()
    c.ImageProvider.tokens = {"quay.io": "secret"}
    with pytest.raises(TraitError, match="only public images"):
        list(Providers(git=Git(), config=c))
