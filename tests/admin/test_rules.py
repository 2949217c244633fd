"""Which repositories a rule means, however they are written: nothing slips through."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.admin.rules import (
    PERSON_BANNED,
    RuleBook,
    clean_pattern,
    means_other_host,
)
from jupyterhub_binder.errors import InvalidInput, NotUnderstood
from jupyterhub_binder.model import Spec
from jupyterhub_binder.model.admin import Rule, RuleKind
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.identity import BANNED, NOT_ON_LIST, means, names_of, normalise
from jupyterhub_binder.repositories.providers.registry import Providers

HOSTS = {
    "gh": "github.com",
    "gl": "gitlab.com",
    "gist": "gist.github.com",
    "git": "",
    "zenodo": "zenodo",
}
WAYS = [
    "https://github.com/org/name",
    "http://github.com/org/name",
    "https://github.com/org/name/",
    "https://github.com/org/name.git",
    "https://github.com/org/name.git/",
    "https://www.github.com/org/name",
    "https://GitHub.com/Org/NAME",
    "https://GITHUB.COM./org/name",
    "https://github.com:443/org/name",
    "https://github.com//org//name",
    "https://github.com/./org/x/../name",
    "https://github.com/org/%6eame",
    "https://github.com/org/%256eame",
    "https://github.com/%6F%72%67/name%2Egit",
    "https%3A%2F%2Fgithub.com%2Forg%2Fname",
    "https://ada:secret@github.com/org/name",
    "git@github.com:org/name.git",
    "ssh://git@github.com/org/name.git",
    "git%40github.com%3Aorg%2Fname",
    "git+https://github.com/org/name",
    "git+ssh://git@github.com:22/org/name",
    "github.com/org/name",
    "gh/org/name",
    "GH/Org/Name",
    "git/https%3A%2F%2Fgithub.com%2Forg%2Fname",
    "git/https://github.com/org/name",
    "<https://github.com/org/name?tab=readme#top>",
    "https:\\\\github.com\\org\\name",
]


def ban(pattern: str, reason: str = "") -> Rule:
    return Rule(RuleKind.BAN, clean_pattern(pattern, HOSTS), reason)


@pytest.mark.parametrize("text", WAYS)
def test_every_way_to_write_a_repository_is_one_name(text: str) -> None:
    assert normalise(text, HOSTS) == "github.com/org/name"


@pytest.mark.parametrize("text", WAYS)
def test_a_ban_written_in_any_way_meets_the_repository(text: str) -> None:
    names = names_of(Spec("gh", "Org/Name"), "https://github.com/Org/Name", hosts=HOSTS)
    refusal = RuleBook([ban(text)]).judge(names)
    assert refusal is not None
    assert refusal.code == BANNED


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        (Spec("gh", "org/name"), "https://github.com/org/name"),
        (Spec("git", "https://github.com/org/name"), "https://github.com/org/name"),
        (Spec("git", "https://www.github.com/Org/name.git"), ""),
        (Spec("git", "https://github.com/org/%6eame"), ""),
        (Spec("git", "https://github.com:443/org/name/"), ""),
        (Spec("gh", "new-name-of/it"), "https://github.com/org/name"),
    ],
)
def test_no_provider_is_a_way_round_a_ban(spec: Spec, url: str) -> None:
    assert RuleBook([ban("gh/org/name")]).judge(names_of(spec, url, hosts=HOSTS))


def test_a_gist_is_its_id_whoevers_name_stands_before_it() -> None:
    book = RuleBook([ban("gist/ada/0123abcd")])
    for repo in ("https://gist.github.com/0123abcd.git", "https://gist.github.com/bob/0123ABCD"):
        assert book.judge(names_of(Spec("git", repo), hosts=HOSTS)), repo
    assert not book.judge(names_of(Spec("gist", "ada/ffff"), hosts=HOSTS))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("github.com/org/*", "github.com/org/name", True),
        ("github.com/org/*", "github.com/organ/name", False),
        ("github.com/org", "github.com/org/name", True),
        ("github.com/org", "github.com/organ/name", False),
        ("gitlab.com/group/*", "gitlab.com/group/sub/name", True),
        ("github.com/*/secret*", "github.com/any/secret-things", True),
        ("github.com", "github.com/any/thing", True),
        ("*", "git.example.org/any", True),
        ("*.example.org/*", "git.example.org/a/b", True),
        ("*.example.org/*", "evil.net/x.example.org/a", False),
        ("*.example.org", "example.org.evil.net/a", False),
        ("git.example.org/a+b", "git.example.org/aab", False),
        ("zenodo/*", "zenodo/10.5281/zenodo.1", True),
        ("münchen.example/x", "xn--mnchen-3ya.example/x", True),
    ],
)
def test_stars_stand_for_any_text_but_in_a_host_for_no_slash(
    pattern: str, name: str, expected: bool
) -> None:
    assert means(clean_pattern(pattern, HOSTS), [name]) is expected
    assert bool(RuleBook([ban(pattern)]).judge([name])) is expected


def test_a_bare_pair_is_githubs() -> None:
    assert clean_pattern("org/*", HOSTS) == "github.com/org/*"
    assert clean_pattern("Org/Name.git", HOSTS) == "github.com/org/name"


@pytest.mark.parametrize("text", ["", "  ", "/", "https://", "all repositories of", "x" * 501])
def test_a_pattern_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        clean_pattern(text, HOSTS)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x", True),
        ("https://git.example.org/", True),
        ("github.com", False),
        ("zenodo", False),
        ("x/*", False),
        ("*.example.org", False),
    ],
)
def test_one_word_means_a_host(text: str, other: bool) -> None:
    assert means_other_host(clean_pattern(text, HOSTS), HOSTS) is other
    names = names_of(Spec("git", "https://x/org/name"), hosts=HOSTS)
    assert bool(RuleBook([ban(text)]).judge(names)) is (text == "x")


def test_an_allow_list_lets_nothing_else_through_and_a_ban_wins() -> None:
    allow = Rule(RuleKind.ALLOW, "github.com/our/*")
    book = RuleBook([allow, ban("github.com/our/mistake", "It mines coins.")])
    assert book.judge(["github.com/our/good"]) is None
    refused = book.judge(["github.com/other/good"])
    assert refused is not None
    assert refused.code == NOT_ON_LIST
    banned = book.judge(["github.com/our/mistake"])
    assert banned is not None
    assert banned.message == "github.com/our/mistake is banned on this hub: It mines coins."


@pytest.mark.parametrize(("shows", "why"), [(True, ": Ticket 7."), (False, ". Ask an admin")])
def test_a_banned_person_is_refused_everything_and_nobody_else_is(shows: bool, why: str) -> None:
    rule = Rule(RuleKind.BAN_PERSON, "mallory", "Ticket 7", shows_reason=shows)
    book = RuleBook([rule, Rule(RuleKind.ALLOW, "github.com/our/*")])
    refused = book.judge(["github.com/our/good"], "mallory")
    assert refused is not None
    assert refused.code == PERSON_BANNED
    assert why in str(refused.message)
    assert ("Ticket" in str(refused.message)) is shows
    assert book.judge(["github.com/our/good"], "ada") is None
    assert book.judge(["mallory", "github.com/our/good"]) is None


def test_a_reason_can_be_kept_from_those_whose_repository_is_refused() -> None:
    rule = Rule(RuleKind.BAN, "github.com/org/name", "Ticket 7", shows_reason=False)
    refused = RuleBook([rule]).judge(["github.com/org/name"])
    assert refused is not None
    assert refused.message == "github.com/org/name is banned on this hub."


def test_the_pasted_address_of_a_page_bans_the_repository() -> None:
    providers = Providers(git=Git())
    with pytest.raises(NotUnderstood):
        providers.understand("https://github.com/org")
    assert providers.hosts["gh"] == "github.com"
    assert providers.hosts["git"] == ""


@pytest.mark.parametrize(
    "path",
    [
        "our/good%3F/../../evil/repo",  # git asks for evil/repo
        "our/good%23/../../evil/repo",
        "evil/repo/x/..",
        "evil/repo/x/%2e%2e",
        "evil/repo/x/%252e%252e",
        "evil/x%2F..%2Frepo",
        "evil\uff0frepo",
        "evil/repo/x/\u2025",
        "evil/repo%5C..",
        "evil/repo%3Fpersistentid=doi:10.7910/DVN/OK",
        "evil/repo\uff1fpersistentid=doi:10.7910/DVN/OK",
    ],
)
def test_an_address_that_git_and_rules_would_read_differently_is_none(path: str) -> None:
    with pytest.raises(NotUnderstood):
        Providers(git=Git()).parse_spec("git", quote(f"https://git.example.org/{path}", safe=""))


def test_doubled_slashes_name_no_other_repository() -> None:
    spec = Providers(git=Git()).parse_spec("git", quote("https://git.example.org//a///b.git", ""))
    assert spec.repo == "https://git.example.org/a/b.git"


def test_what_looks_like_a_doi_in_a_path_hides_no_host() -> None:
    names = names_of(
        Spec("git", "https://evil.example/x&persistentid=doi:10.7910/DVN/OK"), hosts=HOSTS
    )
    assert RuleBook([ban("evil.example")]).judge(names)


def test_a_repository_of_a_provider_that_is_no_longer_enabled_has_its_names_still() -> None:
    providers = Providers(git=Git(), enabled=["git"])
    names = providers.identities(Spec("gh", "Org/Name"), "https://github.com/Org/Name")
    assert {"gh/org/name", "github.com/org/name"} == names


def test_a_record_goes_by_its_archive_its_doi_and_its_page() -> None:
    names = Providers(git=Git()).identities(
        Spec("zenodo", "10.5281/zenodo.1"), "https://zenodo.org/records/1"
    )
    assert names == {
        "zenodo/10.5281/zenodo.1",
        "doi.org/10.5281/zenodo.1",
        "zenodo.org/records/1",
    }


def test_a_ban_of_an_article_covers_each_version() -> None:
    providers = Providers(git=Git())
    book = RuleBook([ban("10.6084/m9.figshare.9")])
    for url in (
        "https://figshare.com/articles/dataset/x/9",
        "https://figshare.com/articles/dataset/x/9/2",
        "https://doi.org/10.6084/m9.figshare.9.V3",
    ):
        assert book.judge(providers.identities(providers.understand(url).spec)), url
    other = providers.understand("https://figshare.com/articles/dataset/x/99").spec
    assert book.judge(providers.identities(other)) is None


@pytest.mark.timeout(20)
def test_no_name_makes_a_pattern_with_many_stars_slow() -> None:
    pattern = clean_pattern("git.example.org/*a*a*a*a*a*b", HOSTS)
    name = f"git.example.org/{'a' * 1900}"
    assert not means(pattern, [name])
    assert means(pattern, [f"{name}b", f"{name}b/c"])


@given(st.text(max_size=80))
def test_normalising_is_done_after_once(text: str) -> None:
    once = normalise(text, HOSTS)
    assert names_of(Spec("git", text), hosts=HOSTS)
    assert "//" not in once.lstrip("/")


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_pattern_and_no_name_takes_long_or_breaks(pattern: str, name: str) -> None:
    means(pattern, [name])
