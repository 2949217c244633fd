"""Any pasted text to a link, and BinderHub's specs there and back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.links.understand import candidates
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.urls import check_ref, host_matches, parse_remote
from jupyterhub_binder.utils.net import is_public

SHA = "0123456789abcdef0123456789abcdef01234567"
providers = Providers(git=Git())


def link(provider: str, repo: str, ref: str = "HEAD", path: str = "", tail: str = "") -> Link:
    return Link(Spec(provider, repo, ref), path, tail)


NB = link("gh", "org/repo", "main", "a/b.ipynb", "main/a/b.ipynb")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/repo", link("gh", "org/repo")),
        ("  org/repo.git \n", link("gh", "org/repo")),
        ("git/git", link("gh", "git/git")),
        ("gh/org/repo/a/b", link("gh", "org/repo", "a/b")),
        ("https://github.com/org/repo", link("gh", "org/repo")),
        ("https://github.com/org/repo/", link("gh", "org/repo")),
        ("<https://www.github.com/org/repo.git>", link("gh", "org/repo")),
        ("github.com/org/repo?tab=readme-ov-file#install", link("gh", "org/repo")),
        ("http://GitHub.com/org/repo", None),
        ("https://GitHub.com/org/repo", link("gh", "org/repo")),
        ("git@github.com:org/repo.git", link("gh", "org/repo")),
        ("ssh://git@github.com/org/repo.git", link("gh", "org/repo")),
        ("git://github.com/org/repo.git", link("gh", "org/repo")),
        ("git+https://github.com/org/repo.git", link("gh", "org/repo")),
        ("git clone --depth 1 https://github.com/org/repo.git here", link("gh", "org/repo")),
        ("https://github.com/org/repo/tree/main", link("gh", "org/repo", "main")),
        ("https://github.com/org/repo/blob/main/a/b.ipynb", NB),
        ("https://github.com/org/repo/blob/main/a/b.ipynb?plain=1#L3", NB),
        ("https://github.com/org/repo/raw/refs/heads/main/a/b.ipynb", NB),
        ("https://raw.githubusercontent.com/org/repo/main/a/b.ipynb", NB),
        (f"https://github.com/org/repo/blob/{SHA}/a%20b.md", link("gh", "org/repo", SHA, "a b.md")),
        (f"https://github.com/org/repo/commit/{SHA}", link("gh", "org/repo", SHA)),
        ("https://github.com/org/repo/releases/tag/v1.0", link("gh", "org/repo", "v1.0")),
        ("https://github.com/org/repo/pull/7/files", link("gh", "org/repo", "refs/pull/7/head")),
        ("https://github.com/org/repo/issues/7", link("gh", "org/repo")),
        ("https://gitlab.com/group/repo", link("gl", "group/repo")),
        ("https://gitlab.com/a/b/c/repo.git", link("gl", "a/b/c/repo")),
        ("git@gitlab.com:a/b/repo.git", link("gl", "a/b/repo")),
        ("https://gitlab.com/a/b/repo/-/tree/main?ref_type=heads", link("gl", "a/b/repo", "main")),
        (
            "https://gitlab.com/a/repo/-/blob/x/y/z.py",
            link("gl", "a/repo", "x", "y/z.py", "x/y/z.py"),
        ),
        ("https://gitlab.com/a/repo/tree/main", link("gl", "a/repo", "main")),
        (
            "https://gitlab.com/a/repo/-/merge_requests/3/diffs",
            link("gl", "a/repo", "refs/merge-requests/3/head"),
        ),
        ("https://gitlab.com/a/repo/-/tags/v1", link("gl", "a/repo", "v1")),
        ("https://gist.github.com/ada/abc123", link("gist", "ada/abc123")),
        ("https://gist.github.com/ada/abc123.git", link("gist", "ada/abc123")),
        (f"https://gist.github.com/ada/abc123/{SHA}", link("gist", "ada/abc123", SHA)),
        ("https://gist.github.com/abc123", link("git", "https://gist.github.com/abc123")),
        ("https://example.org/x/y.git", link("git", "https://example.org/x/y.git")),
        ("https://example.org:8443/y", link("git", "https://example.org:8443/y")),
        ("git@example.org:x/y.git", link("git", "https://example.org/x/y.git")),
        (
            "https://git.example.org/a/b/-/tree/main/docs",
            link("git", "https://git.example.org/a/b.git", "main", "docs", "main/docs"),
        ),
        (
            "https://codeberg.org/a/b/src/branch/main",
            link("git", "https://codeberg.org/a/b", "main"),
        ),
        ("file:///srv/repos/x", link("git", "file:///srv/repos/x")),
        ("file:///srv/repos/x/.git", link("git", "file:///srv/repos/x")),
    ],
)
def test_a_pasted_text_becomes_a_link(text: str, expected: Link | None):
    if expected is None:  # another protocol is still that host's page
        expected = link("gh", "org/repo")
    assert providers.understand(text) == expected


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("git clone -b feature/x {gh}", "feature/x"),
        ("git clone --branch v1.0 --depth 1 {gh}.git folder", "v1.0"),
        ("git clone --branch=v1.0 '{gh}'", "v1.0"),
        ("git clone git@github.com:org/repo.git -b dev", "dev"),
        ("git clone -bdev --single-branch {gh}", "dev"),
        ("git clone -o a/b -c x=y/z {gh}", "HEAD"),
        ("{gh}/archive/refs/tags/v1.0.zip", "v1.0"),
        ("{gh}/archive/refs/heads/feature/x.tar.gz", "feature/x"),
        (f"{{gh}}/archive/{SHA}.zip", SHA),
        ("{gh}/zipball/v1.0", "v1.0"),
        ("{gh}/releases/download/rel/2/data.zip", "rel/2"),
        ("https://codeload.github.com/org/repo/tar.gz/refs/tags/v1.0", "v1.0"),
        ("{gl}/-/releases/v1.0", "v1.0"),
        ("{gl}/-/releases/rel%2F2/downloads/data.zip", "rel/2"),
        ("{gl}/-/archive/feature/x/repo-feature-x.zip", "feature/x"),
        (f"https://gist.github.com/org/abc123/archive/{SHA}.zip", SHA),
        ("{forge}/archive/v1.0.tar.gz", "v1.0"),
        ("{forge}/releases/tag/v1.0", "v1.0"),
        ("{forge}/releases/download/v1.0/data.zip", "v1.0"),
        ("{forge}/raw/tag/v1.0/a.md", "v1.0"),
        ("https://bitbucket.org/org/repo/get/v1.0.zip", "v1.0"),
        ("https://bitbucket.org/org/repo/branch/dev", "dev"),
    ],
)
def test_a_version_in_a_pasted_text_is_the_ref(text: str, ref: str):
    hosts = {"gh": "https://github.com", "gl": "https://gitlab.com", "forge": "https://g.example"}
    text = text.format(**{name: f"{url}/org/repo" for name, url in hosts.items()})
    spec = providers.understand(text).spec
    assert (spec.repo.split("/")[-2], spec.ref) == ("org", ref)


@pytest.mark.parametrize(
    "page",
    [
        "https://github.com/org/repo/releases/latest",
        "https://github.com/org/repo/compare/v1...v2",
        "https://gitlab.com/org/repo/-/releases/permalink/latest",
        "https://gitlab.com/org/repo/-/compare/v1...v2",
    ],
)
def test_a_page_of_no_one_version_is_refused(page: str):
    with pytest.raises(NotUnderstood, match="one version"):
        providers.understand(page)


@pytest.mark.parametrize(
    ("text", "repo", "ref"),
    [
        ("https://g.example/user/repo/-/tree/main", "https://g.example/user/repo.git", "main"),
        ("https://g.example/user/x/y.git", "https://g.example/user/x/y.git", "HEAD"),
        ("https://g.example/hub/home/notes.git", "https://g.example/hub/home/notes.git", "HEAD"),
        ("https://g.example/user/a/b/notes", "https://g.example/user/a/b/notes", "HEAD"),
        ("https://g.example/hub/home/notes", "https://g.example/hub/home/notes", "HEAD"),
    ],
)
def test_a_repository_below_the_words_of_a_hub_is_one(text: str, repo: str, ref: str):
    assert providers.understand(text).spec == Spec("git", repo, ref)


def test_the_git_folder_of_a_repository_gives_it_no_name():
    where = providers["git"].locate("https://g.example/org/repo/.git")
    assert (where.label, where.name) == ("g.example/org/repo", "repo")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "hello",
        "what is this",
        "https://github.com",
        "https://github.com/org",
        "https://gitlab.com/alone",
        "https://example.org",
        "https://user:secret@github.com/org/repo",
        "https://token@example.org/x.git",
        "--upload-pack=touch /tmp/x",
        "-x/y",
        "ext::sh -c touch% /tmp/x",
        "https://github.com/org/repo/tree/--upload-pack=x",
        "https://github.com/../..",
        "https://github.com/org/repo/blob/main/../../etc/passwd",
        "https://github.com/org/re\x00po",
        "https://exa mple.org/x",
        "https://example.org\\@evil.org/x",
        "https://[::1/x",
        "https://host:99999/x",
        "ftp://example.org/x",
        "javascript://example.org/%0aalert(1)",
        "https://127.1/x",
        "https://0x7f000001/x",
        "https://2130706433/x",
        "file://host/x",
        "x" * 3000,
    ],
)
def test_what_is_no_repository_is_refused_in_words(text: str):
    with pytest.raises(NotUnderstood) as caught:
        providers.understand(text)
    assert caught.value.message
    assert "secret" not in caught.value.message


@given(st.text())
def test_any_text_is_understood_or_refused(text: str):
    try:
        understood = providers.understand(text)
    except NotUnderstood:
        return
    provider = providers[understood.spec.provider]
    assert provider.parse_spec(provider.format_spec(understood.spec)) == understood.spec


name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
ref = st.from_regex(r"[A-Za-z0-9#%+é][A-Za-z0-9._/%+#&=é-]{0,30}", fullmatch=True).filter(
    lambda text: _is_ref(text)
)


def _is_ref(text: str) -> bool:
    try:
        return check_ref(text) == text
    except NotUnderstood:
        return False


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    prefix = draw(st.sampled_from(["gh", "gl", "gist", "git"]))
    names = draw(st.lists(name, min_size=2, max_size=5 if prefix == "gl" else 2))
    repo = "/".join(names)
    if prefix == "git":
        repo = f"https://{draw(st.sampled_from(['example.org', 'example.org:8443']))}/{repo}.git"
    return Spec(prefix, repo, draw(ref))


@given(specs())
def test_specs_go_there_and_back(spec: Spec):
    provider = providers[spec.provider]
    text = provider.format_spec(spec)
    assert provider.parse_spec(text) == spec
    assert providers.parse_spec(spec.provider, text.replace("%2F", "%2f")) == spec


PIECES = st.sampled_from(
    [
        *(
            "/",
            "%",
            ".",
            "@",
            ":",
            "#",
            "?",
            "\\",
            "\0",
            " ",
            "-",
            "~",
            "..",
            "a",
            "HEAD",
            "10.5281",
        ),
        *("%2F", "%2f", "%00", "%0a", "%5C", "%252F", "%ff", "https%3A%2F%2F", "https://"),
        *("git.example.org", "--upload-pack=x", "\u202e", "\ud800"),
    ]
)


@given(st.sampled_from([each.prefix for each in providers]), st.lists(PIECES | st.text(max_size=4)))
def test_any_spec_is_read_once_and_for_all_or_refused(prefix: str, pieces: list[str]):
    try:
        spec = providers.parse_spec(prefix, "".join(pieces))
    except NotUnderstood:
        return
    assert providers.parse_spec(prefix, providers[prefix].format_spec(spec)) == spec
    for text in (spec.repo, spec.ref):
        assert text.isprintable()
        assert not text.startswith("-")
        assert ".." not in text.split("/")


@given(specs(), st.lists(name, max_size=3))
@example(Spec("gh", "org/name", "0./x"), ["a.ipynb"])
def test_tree_urls_have_the_right_reading_among_their_candidates(spec: Spec, path: list[str]):
    from urllib.parse import quote

    if spec.provider not in ("gh", "gl") or "%" in spec.ref:
        return
    middle = "tree" if spec.provider == "gh" else "-/tree"
    host = "github.com" if spec.provider == "gh" else "gitlab.com"
    tail = quote("/".join([spec.ref, *path]))
    understood = providers.understand(f"https://{host}/{spec.repo}/{middle}/{tail}")
    readings = candidates(understood) if understood.tail else [understood]
    assert Link(spec, "/".join(path)) in readings


@pytest.mark.parametrize(
    ("prefix", "text", "spec"),
    [
        ("gh", "org/repo/feature/a", Spec("gh", "org/repo", "feature/a")),
        ("gh", "org/repo/feature%2Fa", Spec("gh", "org/repo", "feature/a")),
        ("gh", "org/repo.git/main", Spec("gh", "org/repo", "main")),
        ("gl", "a%2Fb%2Frepo/feature/a", Spec("gl", "a/b/repo", "feature/a")),
        ("gist", "ada/abc", Spec("gist", "ada/abc", "HEAD")),
        ("gist", "ada/abc/master", Spec("gist", "ada/abc", "master")),
        (
            "git",
            "https%3A%2F%2Fexample.org%2Fx.git/a/b",
            Spec("git", "https://example.org/x.git", "a/b"),
        ),
    ],
)
def test_binderhubs_specs_are_read(prefix: str, text: str, spec: Spec):
    assert providers.parse_spec(prefix, text) == spec


@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        ("gh", "org"),
        ("gl", "a/repo/main"),
        ("git", "https://example.org/x.git/main"),
        ("git", "--upload-pack%3Dx%2Fy/main"),
        ("git", "ext%3A%3Ash%20-c%20x%2Fy/main"),
        ("nope", "org/repo/main"),
        ("gh", "org/repo/--upload-pack=x"),
        ("gh", "org/repo/a..b"),
        ("gh", "org/re%00po/main"),
    ],
)
def test_specs_of_another_form_are_refused(prefix: str, text: str):
    with pytest.raises(NotUnderstood):
        providers.parse_spec(prefix, text)


@pytest.mark.parametrize(
    ("host", "matched"),
    [
        ("a.example.org", True),
        ("evilexample.org", False),
        ("example.org.evil.org", False),
    ],
)
def test_a_pattern_of_hosts_matches_whole_names(host: str, matched: bool):
    """OAuthenticator and Jupyter Server: domains were compared by their end or beginning."""
    assert host_matches(parse_remote(f"https://{host}/x"), ["*.example.org"]) is matched


@pytest.mark.parametrize(
    "url",
    [
        *("https:///x", "https://example.org%0a.evil.org/x", "https://example.org\n.evil.org/x"),
        *("https://example.org\r/x", "https://me@evil.org/x", "https://example.org:443@evil.org/x"),
        *("https://example.org\\@evil.org/x", "https://2130706433/x", "https://0x7f.1/x"),
    ],
)
def test_an_address_that_programs_read_differently_is_refused(url: str):
    """Git, CVE-2020-5260, and jupyter-server-proxy, CVE-2022-21697: one host checked, one asked."""
    with pytest.raises(NotUnderstood):
        parse_remote(url)


def test_remotes_have_one_spelling():
    for url in ("https://EXAMPLE.org:443/x", "https://[2001:DB8::1]/x", "https://bücher.example/x"):
        once = str(parse_remote(url))
        assert str(parse_remote(once)) == once


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "255.255.255.255", "224.0.0.1", "168.63.129.16", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
        "::127.0.0.1",
        "fec0::1",
        "64:ff9b:1::7f00:1",
        "::ffff:0:127.0.0.1",
        "5f00::1",
    ],
)
def test_addresses_that_are_not_of_the_internet_are_known(address: str):
    assert not is_public(address)


def test_addresses_of_the_internet_are_public():
    assert all(map(is_public, ["140.82.121.4", "2606:50c0:8000::154", "::ffff:140.82.121.4"]))
