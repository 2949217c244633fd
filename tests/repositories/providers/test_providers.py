"""Refs are resolved by a real git, against a real server; no rule of who may be asked is bent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from traitlets.config import Config

from jupyterhub_binder.errors import (
    BinderError,
    ConfigurationError,
    NotAllowed,
    NotUnderstood,
    RepositoryNotFound,
    UnresolvableRef,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Link, RefKind, Spec, describe_ref
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from tests.kit.git_server import GitRepo, GitServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture(scope="module")
def repo(server: GitServer) -> GitRepo:
    repo = server.make_repo("org/name", {"README.md": "one"})
    repo.tag("v1")
    repo.commit({"README.md": "two"})
    repo.commit({"README.md": "three"})
    repo.tag("v2", annotated=True)
    repo.branch("feature/a/b", "HEAD~1")
    repo.branch("feat", "HEAD~2")
    repo.branch("both", "HEAD~2")
    repo.tag("both")
    repo.git("update-ref", "refs/pull/7/head", "HEAD~1")
    return repo


@pytest.fixture
def git() -> Git:
    return Git(protocols=["https", "http", "file"], private_hosts=["127.0.0.1"], answer_seconds=20)


@pytest.fixture
def providers(git: Git) -> Providers:
    return Providers(git=git)


def spec_of(repo: GitRepo, ref: str = "HEAD") -> Spec:
    return Spec("git", repo.url, ref)


@pytest.mark.parametrize(
    ("ref", "at", "kind"),
    [
        ("HEAD", 2, RefKind.HEAD),
        ("main", 2, RefKind.BRANCH),
        ("refs/heads/main", 2, RefKind.BRANCH),
        ("feature/a/b", 1, RefKind.BRANCH),
        ("v1", 0, RefKind.TAG),
        ("v2", 2, RefKind.TAG),
        ("refs/tags/v2", 2, RefKind.TAG),
        ("refs/pull/7/head", 1, RefKind.BRANCH),
        ("both", 0, RefKind.BRANCH),
    ],
)
async def test_refs_resolve_to_their_commit(
    providers: Providers, repo: GitRepo, ref: str, at: int, kind: RefKind
):
    resolved = await providers.resolve(spec_of(repo, ref))
    assert (resolved.resolved_ref, resolved.ref_kind) == (repo.commits[at], kind)
    assert resolved.clone_url == repo.url
    assert resolved.default_branch == ("main" if ref == "HEAD" else "")
    assert resolved.default_name == "name"
    assert resolved.label == repo.url.removeprefix("http://").removesuffix(".git")


async def test_full_sha_asks_nobody(providers: Providers, repo: GitRepo, server: GitServer):
    before = len(server.requests)
    resolved = await providers.resolve(spec_of(repo, "a" * 40))
    assert (resolved.resolved_ref, resolved.ref_kind) == ("a" * 40, RefKind.COMMIT)
    assert len(server.requests) == before


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_short_sha_is_found_at_a_tip_or_in_the_history(
    providers: Providers, repo: GitRepo, at: int
):
    resolved = await providers.resolve(spec_of(repo, repo.commits[at][:8]))
    assert (resolved.resolved_ref, resolved.ref_kind) == (repo.commits[at], RefKind.COMMIT)


async def test_short_sha_in_the_middle_of_history_is_found(providers: Providers, server: GitServer):
    repo = server.make_repo("org/deep", {"a": "1"})
    for number in range(5):
        repo.commit({"a": str(number)})
    resolved = await providers.resolve(spec_of(repo, repo.commits[2][:9]))
    assert resolved.resolved_ref == repo.commits[2]


async def test_unknown_short_sha_says_what_to_do(providers: Providers, repo: GitRepo):
    with pytest.raises(UnresolvableRef, match="more characters of its SHA"):
        await providers.resolve(spec_of(repo, "0123456"))


async def test_unknown_branch_is_refused_with_the_nearest_names(
    providers: Providers, repo: GitRepo
):
    with pytest.raises(UnresolvableRef, match="Did you mean main") as caught:
        await providers.resolve(spec_of(repo, "mian"))
    assert caught.value.detail["suggestions"][0] == "main"


async def test_empty_repository_is_called_empty(providers: Providers, server: GitServer):
    with pytest.raises(UnresolvableRef, match="empty"):
        await providers.resolve(spec_of(server.make_repo("org/empty")))


async def test_missing_repository_is_called_so(providers: Providers, server: GitServer):
    with pytest.raises(RepositoryNotFound, match="private") as caught:
        await providers.resolve(Spec("git", f"{server.url}/org/redirect-tls-none.git"))
    assert "org/redirect-tls-none" in caught.value.message


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, RepositoryNotFound),
        (403, RepositoryNotFound),
        (429, UpstreamUnavailable),
        (500, UpstreamUnavailable),
    ],
)
async def test_answers_of_the_host_become_errors_in_words(
    providers: Providers, server: GitServer, status: int, error: type[BinderError]
):
    def answer(handler):
        if "/status/" not in handler.path:
            return False
        handler.send_error(status)
        return True

    server.hook = answer
    try:
        with pytest.raises(error):
            await providers.resolve(Spec("git", f"{server.url}/status/{status}.git"))
    finally:
        server.hook = None


async def test_a_host_that_does_not_answer_is_given_up(repo: GitRepo):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        git = Git(protocols=["http"], private_hosts=["127.0.0.1"], answer_seconds=1)
        with pytest.raises(UpstreamUnavailable, match="1 seconds"):
            await git.ls_remote(f"http://127.0.0.1:{port}/org/name.git")


async def test_a_host_that_nobody_listens_at_is_unavailable(providers: Providers):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(UpstreamUnavailable, match="did not answer"):
        await providers.resolve(Spec("git", f"http://127.0.0.1:{port}/x"))


# --- Links whose ref and path run together ------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "ref", "path"),
    [
        ("feature/a/b/docs/x.md", "feature/a/b", "docs/x.md"),
        ("feature/a/b", "feature/a/b", ""),
        ("feat/a/b/docs/x.md", "feat", "a/b/docs/x.md"),
        ("main/docs", "main", "docs"),
        ("HEAD/docs", "HEAD", "docs"),
        ("v2/a/b", "v2", "a/b"),
    ],
)
async def test_the_longest_ref_that_exists_wins(
    providers: Providers, repo: GitRepo, server: GitServer, tail: str, ref: str, path: str
):
    first, _, rest = tail.partition("/")
    before = sum("POST" in line for line in server.requests)
    settled, resolved = await providers.resolve_link(Link(spec_of(repo, first), rest, tail))
    assert settled == Link(spec_of(repo, ref), path)
    assert resolved.spec == settled.spec
    assert sum("POST" in line for line in server.requests) == before + 1


async def test_a_short_sha_before_a_path_is_found(providers: Providers, repo: GitRepo):
    short = repo.commits[0][:8]
    link = Link(spec_of(repo, short), "docs/x.md", f"{short}/docs/x.md")
    settled, resolved = await providers.resolve_link(link)
    assert (settled.path, resolved.resolved_ref) == ("docs/x.md", repo.commits[0])


async def test_a_link_to_no_ref_at_all_is_refused(providers: Providers, repo: GitRepo):
    with pytest.raises(UnresolvableRef, match="nope"):
        await providers.resolve_link(Link(spec_of(repo, "nope"), "x", "nope/x"))


# --- One memory for answers ---------------------------------------------------------------------


async def test_identical_questions_in_flight_are_asked_once(
    providers: Providers, repo: GitRepo, server: GitServer
):
    before = sum("POST" in line for line in server.requests)
    answers = await asyncio.gather(*(providers.resolve(spec_of(repo, "main")) for _ in range(20)))
    assert len(set(answers)) == 1
    assert sum("POST" in line for line in server.requests) == before + 1


async def test_answers_are_kept_for_a_while_and_fresh_ones_on_demand(
    providers: Providers, server: GitServer
):
    repo = server.make_repo("org/moving", {"a": "1"})
    first = await providers.resolve(spec_of(repo))
    sha = repo.commit({"a": "2"})
    assert (await providers.resolve(spec_of(repo))) == first
    assert (await providers.resolve(spec_of(repo), fresh=True)).resolved_ref == sha
    assert (await providers.resolve(spec_of(repo))).resolved_ref == sha
    providers.resolve_cache_seconds = 0
    await providers.resolve(spec_of(repo), fresh=True)
    sha = repo.commit({"a": "3"})
    assert (await providers.resolve(spec_of(repo))).resolved_ref == sha


async def test_the_memory_is_bounded(providers: Providers, repo: GitRepo):
    providers.resolve_cache_size = 2
    for number in range(5):
        await providers.resolve(spec_of(repo, f"{number}" * 40))
    assert len(providers._answers) == 2


async def test_errors_are_not_kept(providers: Providers, server: GitServer):
    spec = Spec("git", f"{server.url}/org/later.git")
    with pytest.raises(RepositoryNotFound):
        await providers.resolve(spec)
    server.make_repo("org/later", {"a": "1"})
    assert await providers.resolve(spec)


async def test_an_unknown_provider_is_named_with_those_there_are(git: Git):
    providers = Providers(git=git, enabled=["gh", "nope"])
    with pytest.raises(ConfigurationError, match="nope"):
        await providers.start()
    providers = Providers(git=git, enabled=["git", "gh"])
    await providers.start()
    assert [provider.prefix for provider in providers] == ["git", "gh"]
    with pytest.raises(NotUnderstood, match="git, gh"):
        providers["gl"]
    await providers.stop()
    await providers.stop()


async def test_a_host_of_ones_own_is_configured(git: Git):
    from traitlets.config import Config

    config = Config({"GitLabProvider": {"hostname": "git.example.org"}})
    providers = Providers(git=git, config=config)
    link = providers.understand("https://git.example.org/a/b/c/-/tree/main")
    assert link.spec == Spec("gl", "a/b/c", "main")
    resolved = await providers.resolve(replace(link.spec, ref="b" * 40))
    assert resolved.clone_url == "https://git.example.org/a/b/c.git"
    assert resolved.repo_url == "https://git.example.org/a/b/c"


@pytest.mark.parametrize("says", ["git version 2.30.1", "hello", None])
async def test_a_git_that_cannot_be_held_to_an_address_is_refused(tmp_path: Path, says: str | None):
    fake = tmp_path / "git"
    if says:
        fake.write_text(f"#!/bin/sh\necho {says}\n")
        fake.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"Git\.executable"):
        await Providers(git=Git(executable=str(fake))).start()


# --- Who may be asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "repository",
    [
        "--upload-pack=touch {marker}",
        "-c core.sshCommand=touch {marker} x/y",
        "ext::sh -c touch% {marker}",
        "ssh://-oProxyCommand=touch%20{marker}/x",
        "https://x/y\n--upload-pack=touch {marker}",
        "https://user:password@127.0.0.1/x",
        "fd::17/foo",
    ],
)
async def test_a_repository_is_never_a_command(tmp_path: Path, git: Git, repository: str):
    marker = tmp_path / "marker"
    url = repository.format(marker=marker)
    with pytest.raises((NotUnderstood, NotAllowed)):
        await git.ls_remote(url)
    with pytest.raises(NotUnderstood):
        Providers(git=git).parse_spec("git", quote(url, safe="") + "/main")
    assert not marker.exists()


async def test_git_itself_refuses_helpers_and_options_too(tmp_path: Path, git: Git):
    """The rules behind the first one hold alone."""
    marker = tmp_path / "marker"
    for url in (f"ext::sh -c touch% {marker}", f"--upload-pack=touch {marker}"):
        with pytest.raises(BinderError):
            await git.run("ls-remote", "--", url, cwd=tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://localhost./x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/x",
        "https://0177.0.0.1/x",
    ],
)
async def test_addresses_of_the_inside_are_refused(url: str):
    with pytest.raises((NotAllowed, NotUnderstood)):
        await Git().ls_remote(url)


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
async def test_a_name_that_leads_inside_is_refused(monkeypatch, proxy: str):
    loop = asyncio.get_running_loop()

    async def inside(*args, **kwargs):
        return [(2, 1, 6, "", ("93.184.215.14", 443)), (2, 1, 6, "", ("10.0.0.7", 443))]

    monkeypatch.setattr(loop, "getaddrinfo", inside)
    host = "internal" if proxy else "evil.example.org"
    with pytest.raises(NotAllowed, match="not on the public internet"):
        await Git(proxy=proxy).ls_remote(f"https://{host}/x")


async def test_the_address_that_was_checked_is_the_one_that_is_asked(
    monkeypatch, repo: GitRepo, server: GitServer
):
    """A name that changes its address after the check leads nowhere else."""
    loop = asyncio.get_running_loop()
    asked = []

    async def once(host, port, **kwargs):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", once)
    git = Git(protocols=["http"], private_hosts=["rebinding.invalid"])
    url = f"http://rebinding.invalid:{server.port}/org/name.git"
    assert (await git.ls_remote(url))["HEAD"] == repo.head  # no resolver knows .invalid
    assert asked == ["rebinding.invalid"]


async def test_redirects_are_not_followed(providers: Providers, repo: GitRepo, server: GitServer):
    def redirect(handler):
        if not handler.path.startswith("/moved"):
            return False
        handler.send_response(301)
        handler.send_header("Location", handler.path.replace("/moved", "/org/name.git"))
        handler.end_headers()
        return True

    server.hook = redirect
    before = len(server.requests)
    try:
        with pytest.raises(RepositoryNotFound, match="moved"):
            await providers.resolve(Spec("git", f"{server.url}/moved"))
    finally:
        server.hook = None
    assert len(server.requests) == before + 1


async def test_protocols_hosts_and_folders_are_as_configured(repo: GitRepo, server: GitServer):
    strict = Git()
    for url in (repo.url, repo.file_url):
        with pytest.raises(NotAllowed):
            await strict.ls_remote(url)
    only = Git(allowed_hosts=["github.com", "*.example.org"])
    only.check("https://github.com/x/y")
    only.check("https://a.example.org/x")
    for host in ("gitlab.com", "github.com.evil.org", "example.org", "evilgithub.com"):
        with pytest.raises(NotAllowed, match=host):
            only.check(f"https://{host}/x")


async def test_file_urls_need_a_root_that_holds_them(repo: GitRepo, tmp_path: Path):
    root = repo.git_dir.parent
    git = Git(protocols=["file"], file_roots=[str(root)])
    assert (await git.ls_remote(repo.file_url))["HEAD"] == repo.head
    with pytest.raises(RepositoryNotFound, match="on the hub's machine"):
        await git.ls_remote(f"file://{root}/gone.git")
    (tmp_path / "link").symlink_to(root)
    other = Git(protocols=["file"], file_roots=[str(tmp_path)])
    for url in (
        repo.file_url,
        f"file://{tmp_path}/link/name.git",
        f"file://{root}/../../work/org/name",
        f"file://{root}/%2e%2e/x",
    ):
        with pytest.raises(NotAllowed):
            await (other if "link" in url or url == repo.file_url else git).ls_remote(url)


def test_the_environment_of_git_is_ours_alone(monkeypatch, git: Git):
    for name in ("GIT_SSH_COMMAND", "GIT_EXEC_PATH", "HTTPS_PROXY", "SECRET_TOKEN", "GIT_DIR"):
        monkeypatch.setenv(name, "evil")
    env = git.environment()
    assert "evil" not in env.values()
    assert env["GIT_CONFIG_NOSYSTEM"] == "1"
    assert env["GIT_TERMINAL_PROMPT"] == "0"


@pytest.mark.parametrize(
    ("url", "ref", "expected"),
    [
        ("https://github.com/org/name/tree/main/docs", "v1", ("v1", "docs")),
        ("https://github.com/org/name/blob/feature/x/docs/a.ipynb", "feature/x", ("feature/x", "docs/a.ipynb")),
        ("https://github.com/org/name", "feature/x", ("feature/x", "")),
    ],
)  # fmt: skip
def test_ref_typed_beside_a_link_is_the_one_that_counts(providers: Providers, url, ref, expected):
    link = providers.at_ref(providers.understand(url), ref)
    assert (link.spec.ref, link.path, link.tail) == (*expected, "")


def test_ref_typed_beside_a_link_is_checked_as_any_other(providers: Providers):
    with pytest.raises(NotUnderstood):
        providers.at_ref(providers.understand("org/name"), "--upload-pack=x")


# --- Pull requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["pull/7", "pull/7/head", "refs/pull/7/head"])
async def test_a_pull_request_is_asked_for_by_its_number(
    providers: Providers, repo: GitRepo, ref: str
) -> None:
    spec = providers.parse_spec("git", f"{quote(repo.url, safe='')}/{ref}")
    assert spec.ref == "refs/pull/7/head"
    resolved = await providers.resolve(spec)
    assert resolved.resolved_ref == repo.commits[1]
    assert describe_ref(spec.ref) == "pull request #7"


async def test_a_pull_request_that_is_none_is_named_in_words(
    providers: Providers, repo: GitRepo
) -> None:
    with pytest.raises(UnresolvableRef, match="has no pull request #8"):
        await providers.resolve(spec_of(repo, "refs/pull/8/head"))
    with pytest.raises(UnresolvableRef, match="has no merge request !8"):
        await providers.resolve(spec_of(repo, "refs/merge-requests/8/head"))


# --- What the configuration rules out -------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "spec"),
    [
        ("gh", "Spam/Name/main"),
        ("gh", "spam/n%61me/main"),
        ("git", "https%3A%2F%2Fgithub.com%2Fspam%2Fname.git/main"),
        ("git", "https%3A%2F%2Fwww.GitHub.com%2F%2Fspam%2Fn%2561me/main"),
    ],
)
def test_a_ban_holds_however_a_repository_is_spelled(prefix: str, spec: str) -> None:
    for written in ("github.com/spam/*", "gh/Spam/*", "git@github.com:spam/name.git"):
        config = Config({"GitHubProvider": {"banned": [written]}})
        providers = Providers(git=Git(), config=config)
        with pytest.raises(NotAllowed) as refused:
            providers.check(providers.parse_spec(prefix, spec))
        assert refused.value.error_code == "repository_banned"
        providers.check(providers.parse_spec("gh", "good/name/main"))


def test_an_allow_list_of_a_host_holds_for_whoever_brings_its_repositories() -> None:
    config = Config({"GitHubProvider": {"allowed": ["github.com/our-org"]}})
    providers = Providers(git=Git(), config=config)
    providers.check(providers.parse_spec("gh", "Our-Org/name/main"))
    providers.check(providers.parse_spec("gl", "any%2Fname/main"))
    for prefix, spec in (("gh", "other/name"), ("git", "https%3A%2F%2Fgithub.com%2Fother%2Fname")):
        with pytest.raises(NotAllowed, match="not one of them") as refused:
            providers.check(providers.parse_spec(prefix, spec))
        assert refused.value.error_code == "repository_not_allowed"


def test_a_gist_is_banned_with_its_owner_and_without() -> None:
    by_itself = ("git", "https%3A%2F%2Fgist.github.com%2Fabc123")
    for written in ("gist.github.com/abc123", "gist.github.com/ada/abc123"):
        config = Config({"GistProvider": {"banned": [written]}})
        providers = Providers(git=Git(), config=config)
        for prefix, spec in (("gist", "ada/abc123"), by_itself):
            with pytest.raises(NotAllowed):
                providers.check(providers.parse_spec(prefix, spec))
        providers.check(providers.parse_spec("gist", "ada/other"))


def test_a_providers_token_is_gits_for_that_host_alone() -> None:
    config = Config({"GitHubProvider": {"tokens": {"github.com": "s3cret"}}})
    providers = Providers(git=Git(), config=config)
    assert providers["gh"]
    held = providers.git.environment("https://github.com/org/name").values()
    assert any("Authorization: Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0" in text for text in held)
    held = providers.git.environment("https://gitlab.com/org/name").values()
    assert not any("Authorization" in text for text in held)


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("file:///srv/demo/repositories/daylight", "daylight"),
        ("file:///srv/demo/repositories/team/tides.git", "team/tides"),
        ("file:///srv/other/daylight", "/srv/other/daylight"),
        ("https://g.example/srv/demo/repositories/x", "g.example/srv/demo/repositories/x"),
    ],
)
def test_folder_of_this_machine_is_named_as_seen_from_its_root(url: str, label: str):
    git = Git(protocols=["file", "https"], file_roots=["/srv/demo/repositories"])
    assert Providers(git=git)["git"].locate(url).label == label
