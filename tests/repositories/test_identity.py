"""One text for one repository, whatever way it was spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.repositories.identity import canonical, matches


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://github.com/Org/Name", "github.com/org/name"),
        ("https://GitHub.com:443/org/name.git/", "github.com/org/name"),
        ("HTTPS://www.github.com//org//name", "github.com/org/name"),
        ("github.com/org/n%61me", "github.com/org/name"),
        ("github.com/org/n%2561me", "github.com/org/name"),
        ("https://github.com%2Forg%2Fname", "github.com/org/name"),
        ("https://github.com/good/x/../../org/name", "github.com/org/name"),
        ("https://github.com/org/name?tab=readme#x", "github.com/org/name"),
        ("https://git.example.org:8443/a/b", "git.example.org:8443/a/b"),
        ("https://git.example.org./a/b", "git.example.org/a/b"),
        ("https://bücher.example/a", "xn--bcher-kva.example/a"),
        ("github.com/org/name", "github.com/org/name"),
        ("file:///srv/repos/x", "srv/repos/x"),
        ("10.5281/Zenodo.123", "doi.org/10.5281/zenodo.123"),
        ("doi:10.5281/zenodo.123", "doi.org/10.5281/zenodo.123"),
        ("https://dx.doi.org/10.5281/zenodo.123", "doi.org/10.5281/zenodo.123"),
        ("https://doi.org/10.5281%2Fzenodo.123", "doi.org/10.5281/zenodo.123"),
        (
            "https://data.example.org/dataset.xhtml?persistentId=doi:10.7910/DVN/ABC&version=2",
            "doi.org/10.7910/dvn/abc",
        ),
    ],
)
def test_every_spelling_of_a_repository_is_one_text(text: str, expected: str):
    assert canonical(text) == expected
    assert canonical(canonical(text)) == canonical(text)


@given((st.text() | st.text("ab/.:*%2fE@[] wgit")).filter(lambda text: "?" not in text))
def test_whatever_is_written_in_a_list_means_what_is_written_so(text: str):
    assert matches([text], [text]) is bool(canonical(text))


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("github.com/org/name", True),
        ("https://github.com/Org/Name.git", True),
        ("github.com/org", True),
        ("github.com/org/*", True),
        ("github.com/or?/name", True),
        ("github.com", True),
        ("github.com/or", False),
        ("github.com/org/nam", False),
        ("", False),
        ("gitlab.com/org/*", False),
    ],
)
def test_a_pattern_means_a_repository_and_all_below(pattern: str, meant: bool):
    assert matches(["https://github.com/org/%6Eame.git"], [pattern]) is meant
