"""Names, challenges and credentials of registries, and tokens against a small server."""

from __future__ import annotations

import base64
import json
import os

import pytest
from aiohttp import web
from yarl import URL

from jupyterhub_binder.backends.repo2docker.docker_config import Credentials, DockerConfig
from jupyterhub_binder.backends.repo2docker.registry import (
    ImageName,
    Registry,
    may_have_credentials,
    read_challenge,
)
from jupyterhub_binder.errors import ConfigurationError, NotAllowed, UpstreamUnavailable


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("alpine", "docker.io", "library/alpine", "latest"),
        ("org/name:v1", "docker.io", "org/name", "v1"),
        ("docker.io/org/name", "docker.io", "org/name", "latest"),
        ("localhost/name:v1", "localhost", "name", "v1"),
        ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000", "a/b", "v1"),
        ("registry.example.org:443/a/b", "registry.example.org:443", "a/b", "latest"),
        ("ghcr.io/a/b@sha256:abc", "ghcr.io", "a/b", "latest"),
    ],
)
def test_image_name_is_taken_apart(text, host, repository, tag):
    assert ImageName.parse(text) == ImageName(host, repository, tag)


def test_challenge_is_taken_apart():
    header = 'Bearer realm="https://a.example/token?x=1,2",service="reg",scope="repository:a:pull"'
    assert read_challenge(header) == (
        "bearer",
        {"realm": "https://a.example/token?x=1,2", "service": "reg", "scope": "repository:a:pull"},
    )
    assert read_challenge("Basic realm=x") == ("basic", {"realm": "x"})
    assert read_challenge("") == ("", {})


@pytest.mark.parametrize("key", ["r.example", "https://r.example", "https://r.example/v2/"])
async def test_credentials_are_found_under_every_spelling(tmp_path, key):
    auth = base64.b64encode(b"ada:pass:word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {key: {"auth": auth}}}))
    assert await DockerConfig.read(str(tmp_path), "r.example").fetch() == Credentials(
        "ada", "pass:word"
    )
    assert await DockerConfig.read(str(tmp_path), "other.example").fetch() is None


async def test_credentials_of_docker_hub_are_found(tmp_path):
    known = {"https://index.docker.io/v1/": {"username": "ada", "password": "x"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": known}))
    assert await DockerConfig.read(str(tmp_path), "docker.io").fetch() == Credentials("ada", "x")


async def test_no_file_is_no_credentials(tmp_path):
    assert await DockerConfig.read(str(tmp_path), "r.example").fetch() is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"auths": []}', '{"auths": {"r.example": {"auth": "%"}}}']
)
async def test_file_that_makes_no_sense_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    if text == '{"auths": []}':
        assert await DockerConfig.read(str(tmp_path), "r.example").fetch() is None
        return
    with pytest.raises(ConfigurationError, match="docker_config"):
        DockerConfig.read(str(tmp_path), "r.example")


# --- Tokens ------------------------------------------------------------------------------------


class TokenRegistry:
    """Wants a token for each repository, and gives it to one person."""

    def __init__(self) -> None:
        self.tokens_given = 0
        self.expires_in = 300
        self.host = ""
        self.realm = ""
        self.token_text: str | None = None
        """The answer of the place for tokens, word for word."""
        self.answer = ""
        """The answer to who asks for a list."""
        self.link = ""
        self.pages = 0
        self.sent: list[str] = []
        """The Authorization headers that the place for tokens got."""

    async def token(self, request: web.Request) -> web.Response:
        auth = request.headers.get("Authorization", "")
        self.sent.append(auth)
        if self.token_text is not None:
            return web.Response(text=self.token_text)
        if auth != Credentials("ada", "secret").header:
            return web.Response(status=401)
        self.tokens_given += 1
        scope = request.query["scope"]
        return web.json_response({"token": f"for {scope}", "expires_in": self.expires_in})

    async def manifest(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        action = "delete" if request.method == "DELETE" else "pull"
        scope = f"repository:{name}:{action}"
        if request.headers.get("Authorization") != f"Bearer for {scope}":
            realm = self.realm or f"http://{self.host}/token"
            challenge = f'Bearer realm="{realm}",service="reg",scope="{scope}"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        status = 202 if request.method == "DELETE" else 200
        return web.Response(status=status, headers={"Docker-Content-Digest": "sha256:abc"})

    async def tags(self, request: web.Request) -> web.Response:
        """Two pages, without a token."""
        if "last" in request.query:
            return web.json_response({"tags": ["v2"]})
        link = '</v2/paged/tags/list?last=v1&n=1>; rel="next"'
        return web.json_response({"tags": ["v1"]}, headers={"Link": link})

    async def rubbish(self, request: web.Request) -> web.Response:
        self.pages += 1
        return web.Response(text=self.answer, headers={"Link": self.link} if self.link else {})

    async def elsewhere(self, request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://ada:x@{self.host}/token"})

    async def broken(self, request: web.Request) -> web.Response:
        return web.Response(status=502)


@pytest.fixture
async def token_registry():
    registry = TokenRegistry()
    app = web.Application()
    app.router.add_get("/token", registry.token)
    app.router.add_get("/v2/paged/tags/list", registry.tags)
    app.router.add_get("/v2/broken/tags/list", registry.broken)
    app.router.add_get("/elsewhere", registry.elsewhere)
    app.router.add_get("/v2/_catalog", registry.rubbish)
    app.router.add_get("/v2/x/rubbish/tags/list", registry.rubbish)
    app.router.add_route("*", "/v2/{name:.+}/manifests/{tag}", registry.manifest)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
    yield registry
    await runner.cleanup()


@pytest.fixture
async def client(token_registry, tmp_path):
    known = {token_registry.host: {"username": "ada", "password": "secret"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": known}))
    client = Registry(image_prefix=f"{token_registry.host}/x/", docker_config=str(tmp_path))
    await client.start()
    yield client
    await client.stop()


async def test_token_is_fetched_once_and_kept(client, token_registry):
    for _ in range(3):
        assert await client.fetch_digest(f"{token_registry.host}/x/a:v1") == "sha256:abc"
    assert token_registry.tokens_given == 1


async def test_expired_token_is_fetched_anew(client, token_registry):
    token_registry.expires_in = 0
    for _ in range(2):
        assert await client.fetch_digest(f"{token_registry.host}/x/a:v1") == "sha256:abc"
    assert token_registry.tokens_given == 2


async def test_deleting_asks_for_another_token(client, token_registry):
    await client.delete(f"{token_registry.host}/x/a:v1")
    assert token_registry.tokens_given == 2


async def test_person_without_password_gets_no_token(token_registry, tmp_path):
    client = Registry(
        image_prefix=f"{token_registry.host}/x/", docker_config=str(tmp_path / "none")
    )
    await client.start()
    with pytest.raises(NotAllowed):
        await client.fetch_digest(f"{token_registry.host}/x/a:v1")
    await client.stop()


async def test_the_folder_that_docker_config_names_is_read_as_the_engine_reads_it(
    token_registry, tmp_path, monkeypatch
):
    known = {token_registry.host: {"username": "ada", "password": "secret"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": known}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    client = Registry(image_prefix=f"{token_registry.host}/x/")
    await client.start()
    try:
        assert await client.fetch_digest(f"{token_registry.host}/x/a:v1") == "sha256:abc"
    finally:
        await client.stop()


# --- Programs that keep credentials ------------------------------------------------------------

HELPER = """#!/bin/sh
read server
echo "$1 $server" >> {folder}/asked
case "$server" in
  {host}) echo '{{"ServerURL": "'"$server"'", "Username": "ada", "Secret": "{secret}"}}' ;;
  broken*) echo "no keyring" >&2; exit 1 ;;
  strange*) echo "hello" ;;
  identity*) echo '{{"Username": "<token>", "Secret": "x"}}' ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Put a program `docker-credential-mine` on the PATH, which knows one host."""

    def helper(host: str, secret: str = "secret") -> None:
        program = tmp_path / "bin" / "docker-credential-mine"
        program.parent.mkdir(exist_ok=True)
        program.write_text(HELPER.format(folder=tmp_path, host=host, secret=secret))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return helper


def configure(folder, **said) -> str:
    (folder / "config.json").write_text(json.dumps(said))
    return str(folder)


@pytest.mark.parametrize(
    "said", [{"credsStore": "mine"}, {"credHelpers": {"r.example": "mine"}, "credsStore": "other"}]
)
async def test_program_that_the_configuration_names_is_asked(tmp_path, helper, said):
    helper("r.example")
    folder = configure(tmp_path, auths={"r.example": {}}, **said)
    assert await DockerConfig.read(folder, "r.example").fetch() == Credentials("ada", "secret")
    assert (tmp_path / "asked").read_text() == "get r.example\n"


async def test_program_that_knows_nothing_leaves_what_the_file_holds(tmp_path, helper):
    helper("other.example")
    kept = {"username": "bob", "password": "x"}
    folder = configure(tmp_path, auths={"r.example": kept}, credsStore="mine")
    assert await DockerConfig.read(folder, "r.example").fetch() == Credentials("bob", "x")
    assert await DockerConfig.read(folder, "third.example").fetch() is None


@pytest.mark.parametrize(
    ("host", "why"),
    [("broken", "no keyring"), ("strange", "answer is invalid"), ("identity", "identity token")],
)
async def test_program_that_does_not_work_is_named_with_why(tmp_path, helper, host, why):
    helper("r.example")
    folder = configure(tmp_path, credsStore="mine")
    with pytest.raises(ConfigurationError, match=f"docker-credential-mine.*{why}"):
        await DockerConfig.read(folder, host).fetch()


async def test_program_that_is_not_there_is_named_and_no_path_is_one(tmp_path):
    folder = configure(tmp_path, credsStore="none-such")
    with pytest.raises(ConfigurationError, match="docker-credential-none-such"):
        await DockerConfig.read(folder, "r.example").fetch()
    folder = configure(tmp_path, credsStore="x/../../evil")
    with pytest.raises(ConfigurationError, match="docker login"):
        DockerConfig.read(folder, "r.example")


async def test_program_is_asked_again_when_what_it_gave_is_good_no_more(
    tmp_path, helper, token_registry
):
    helper(token_registry.host, secret="old")
    client = Registry(
        image_prefix=f"{token_registry.host}/x/",
        docker_config=configure(tmp_path, credHelpers={token_registry.host: "mine"}),
        refresh_seconds=0,
    )
    await client.start()
    try:
        helper(token_registry.host, secret="secret")
        assert await client.fetch_digest(f"{token_registry.host}/x/a:v1") == "sha256:abc"
    finally:
        await client.stop()


async def test_all_pages_of_tags_are_read(client, token_registry):
    assert await client.list_tags(f"{token_registry.host}/paged") == ("v1", "v2")


async def test_error_of_the_registry_is_told_with_its_status(client, token_registry):
    with pytest.raises(UpstreamUnavailable, match="502"):
        await client.list_tags(f"{token_registry.host}/broken")


# --- Registries that answer rubbish ------------------------------------------------------------

NO_LISTS = [
    '{"tags": 5, "repositories": 5}',
    '{"tags": "v1", "repositories": "x"}',
    '{"tags": {"v1": 1}, "repositories": {"x": 1}}',
    '{"tags": [5], "repositories": [["x"]]}',
    json.dumps({"tags": ["v" * 5000], "repositories": ["x" * 5000]}),
    "[]",
    "5",
    "",
    "[" * 200_000,
    '{"tags": ' + "[" * 200_000,
    '{"tags": ' + "1" * 5000 + "}",
    "\x00",
]


@pytest.mark.parametrize("answer", NO_LISTS, ids=range(len(NO_LISTS)))
async def test_list_that_is_none_is_an_error_in_words(client, token_registry, answer):
    token_registry.answer = answer
    with pytest.raises(UpstreamUnavailable, match="The registry's answer"):
        await client.list_tags(f"{token_registry.host}/x/rubbish")
    with pytest.raises(UpstreamUnavailable, match="The registry's answer"):
        await client.list_repositories()
    assert await client.list_images(f"{token_registry.host}/x/") == ()


async def test_tags_that_are_none_are_an_error_when_images_are_listed(client, token_registry):
    token_registry.answer = '{"repositories": ["x/rubbish"], "tags": 5}'
    with pytest.raises(UpstreamUnavailable, match="does not contain a list of names"):
        await client.list_images(f"{token_registry.host}/x/")


async def test_registry_without_tags_may_say_null(client, token_registry):
    token_registry.answer = '{"tags": null}'
    assert await client.list_tags(f"{token_registry.host}/x/rubbish") == ()


async def test_pages_without_end_are_given_up(client, token_registry):
    token_registry.answer = json.dumps({"tags": [f"v{n}" for n in range(30_000)]})
    token_registry.link = '</v2/x/rubbish/tags/list?last=v1>; rel="next"'
    with pytest.raises(UpstreamUnavailable, match="more than 100000 names"):
        await client.list_tags(f"{token_registry.host}/x/rubbish")
    assert token_registry.pages == 4


async def test_empty_pages_without_end_are_given_up(client, token_registry, monkeypatch):
    monkeypatch.setattr("jupyterhub_binder.backends.repo2docker.registry._MAX_PAGES", 5)
    token_registry.answer = '{"tags": []}'
    token_registry.link = '</v2/x/rubbish/tags/list?last=v1>; rel="next"'
    with pytest.raises(UpstreamUnavailable, match="longer than 5 pages"):
        await client.list_tags(f"{token_registry.host}/x/rubbish")
    assert token_registry.pages == 5


async def test_tags_of_all_repositories_are_counted_together(client, token_registry):
    token_registry.answer = json.dumps(
        {"repositories": ["x/rubbish"] * 9, "tags": [f"v{n}" for n in range(30_000)]}
    )
    with pytest.raises(UpstreamUnavailable, match="more than 100000 names"):
        await client.list_images(f"{token_registry.host}/x/")
    assert token_registry.pages == 5


NO_TOKENS = [
    "[]",
    "{}",
    '{"token": ""}',
    '{"token": 5}',
    '{"token": ["x"]}',
    json.dumps({"token": "a\nX-Other: b"}),
    json.dumps({"token": "a\r\n"}),
    json.dumps({"token": "a\x00"}),
    json.dumps({"access_token": "sch\u00f6n"}),
    json.dumps({"token": "\ud800"}),
    json.dumps({"token": "x" * 100_000}),
    "[" * 200_000,
]


@pytest.mark.parametrize("answer", NO_TOKENS, ids=range(len(NO_TOKENS)))
async def test_token_that_is_none_is_an_error_in_words(client, token_registry, answer):
    token_registry.token_text = answer
    with pytest.raises(
        UpstreamUnavailable, match=r"did not return a token|not JSON|not a JSON object"
    ):
        await client.fetch_digest(f"{token_registry.host}/x/a:v1")


@pytest.mark.parametrize(
    "seconds", ["1e999", "-1e999", "NaN", "1" + "0" * 400, "-5", "null", '"x"', "[]", "true"]
)
async def test_token_that_lasts_for_a_strange_time_is_used(client, token_registry, seconds):
    text = "for repository:x/a:pull"
    token_registry.token_text = f'{{"token": "{text}", "expires_in": {seconds}}}'
    for _ in range(2):
        assert await client.fetch_digest(f"{token_registry.host}/x/a:v1") == "sha256:abc"


async def test_expired_tokens_are_not_kept(client, token_registry):
    token_registry.expires_in = 0
    for n in range(5):
        await client.fetch_digest(f"{token_registry.host}/x/a{n}:v1")
    assert len(client._tokens) == 1
    token_registry.expires_in = 300
    for n in range(5):
        await client.fetch_digest(f"{token_registry.host}/x/a{n}:v1")
    assert len(client._tokens) == 5


# --- Where credentials go ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("realm", "registry", "may"),
    [
        ("https://auth.example/token", "https://r.example", True),
        ("https://auth.example/token", "http://r.example:5000", True),
        ("http://r.example:5000/token", "http://r.example:5000", True),
        ("http://R.example/token", "http://r.example:80", True),
        ("http://auth.example/token", "https://r.example", False),
        ("http://r.example/token", "https://r.example", False),
        ("http://r.example:443/token", "https://r.example", False),
        ("http://r.example:5001/token", "http://r.example:5000", False),
        ("http://other.example:5000/token", "http://r.example:5000", False),
        ("https://ada:x@auth.example/token", "https://r.example", False),
        ("ftp://r.example/token", "ftp://r.example", False),
        ("https:///token", "https://r.example", False),
        ("/token", "http://r.example:5000", False),
    ],
)
def test_credentials_go_to_https_or_to_a_registry_on_http_itself(realm, registry, may):
    assert may_have_credentials(URL(realm), URL(registry)) is may


async def test_realm_elsewhere_on_http_gets_no_credentials(client, token_registry):
    port = token_registry.host.partition(":")[2]
    token_registry.realm = f"http://localhost:{port}/token"
    with pytest.raises(NotAllowed, match="only over https"):
        await client.fetch_digest(f"{token_registry.host}/x/a:v1")
    assert token_registry.sent == []


async def test_realm_that_leads_elsewhere_is_not_followed(client, token_registry):
    token_registry.realm = f"http://{token_registry.host}/elsewhere"
    with pytest.raises(UpstreamUnavailable, match="307"):
        await client.fetch_digest(f"{token_registry.host}/x/a:v1")
    assert token_registry.sent == []


@pytest.mark.parametrize(
    "realm", ["http://[", "https://r.example:99999/", "x", "https://", "sch\xf6n"]
)
async def test_realm_that_is_no_address_is_an_error_in_words(client, token_registry, realm):
    token_registry.realm = realm
    with pytest.raises((NotAllowed, UpstreamUnavailable)):
        await client.fetch_digest(f"{token_registry.host}/x/a:v1")
    assert token_registry.sent == []
