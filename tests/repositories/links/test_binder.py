from urllib.parse import unquote, urlencode

import pytest

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.links.binder import format_binder_link
from jupyterhub_binder.repositories.providers.registry import Providers

MAIN = Spec("gh", "org/name", "main")


@pytest.fixture(scope="module")
def providers() -> Providers:
    return Providers(git=Git())


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://mybinder.org/v2/gh/org/name/main", Link(MAIN)),
        ("mybinder.org/v2/gh/org/name/main/", Link(MAIN)),
        ("https://example.org/binder/v2/gh/org/name/main?urlpath=lab", Link(MAIN)),
        ("https://mybinder.org/v2/gh/org/name/main?labpath=a%2Fb.ipynb", Link(MAIN, "a/b.ipynb")),
        ("https://mybinder.org/v2/gh/org/name/main?filepath=a.ipynb", Link(MAIN, "a.ipynb")),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=lab/tree/a.md", Link(MAIN, "a.md")),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=%2Fdoc%2Ftree%2Fx", Link(MAIN, "x")),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=rstudio", Link(MAIN, "/rstudio")),
        (
            "https://mybinder.org/v2/gh/org/name/main?urlpath=proxy/8501/",
            Link(MAIN, "/proxy/8501/"),
        ),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=/lab/", Link(MAIN)),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=/tree", Link(MAIN, "/tree")),
        (
            "https://mybinder.org/v2/gh/org/name/main?urlpath=voila/render/a.ipynb?x=1",
            Link(MAIN, "/voila/render/a.ipynb?x=1"),
        ),
        (
            "https://mybinder.org/v2/zenodo/10.5281/zenodo.3242074/?labpath=a.ipynb",
            Link(Spec("zenodo", "10.5281/zenodo.3242074"), "a.ipynb"),
        ),
        (
            "https://mybinder.org/v2/ckan/https%3A%2F%2Fdemo.ckan.org%2Fdataset%2Fx",
            Link(Spec("ckan", "https://demo.ckan.org/dataset/x")),
        ),
        (
            "https://mybinder.org/v2/git/https%3A%2F%2Fgit.example.org%2Fa%2Fb/v%2F1",
            Link(Spec("git", "https://git.example.org/a/b", "v/1")),
        ),
        (
            "[![Binder](https://mybinder.org/badge_logo.svg)]"
            "(https://mybinder.org/v2/gh/org/name/main?labpath=a.ipynb)",
            Link(MAIN, "a.ipynb"),
        ),
    ],
)
def test_a_binder_link_is_its_repository_and_the_file_it_opens(providers, text, link):
    assert providers.understand(text) == link


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://mybinder.org/v2/zenodo/hello", "not a DOI"),
        (
            "https://mybinder.org/v2/gh/org/name/main?urlpath=//evil.example.org/x",
            "not on the server",
        ),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=https://evil.example.org", "not on the"),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=a/..%252F..%252Fhub", "not on the"),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=a%5Cb", "not on the"),
        ("https://mybinder.org/v2/gh/org/name/main?urlpath=git-pull", "does not say which"),
        ("https://mybinder.org/v2/gh/org/name/main?" + "a=b%26" * 3 + "a=b&" * 60, "too many"),
        ("https://mybinder.org/v2/gh/org", "owner"),
        (
            "https://mybinder.org/v2/nope/x/y",
            "provider nope, which this hub does not have. It has gh, ",
        ),
        ("https://hub.example.org/base/services/binder/v2/nope/x", "provider nope"),
        ("https://hub.example.org/services/binder/v2/nope", "provider nope"),
        ("https://hub.example.org/services/binder/v2/gh", "no repository after gh/"),
        (
            "https://mybinder.org/v2/gh/org/name/main?labpath=../../etc/passwd",
            "not inside its repository",
        ),
        ("https://mybinder.org/v2/gh/org/name/main?labpath=a%00b", "not inside its repository"),
        (
            "https://mybinder.org/v2/gh/org/name/main?urlpath=lab/tree/.git/config",
            "not inside its repository",
        ),
    ],
)
def test_a_binder_link_that_cannot_be_followed_says_why(providers, text, words):
    with pytest.raises(NotUnderstood, match=words):
        providers.understand(text)


@pytest.mark.parametrize("inner", ["voila/render/content/a b.ipynb", "voila/render/a b.ipynb"])
def test_an_application_opens_a_file_of_the_repository_that_is_pulled(providers, inner):
    pull = urlencode({"repo": "https://github.com/org/content", "urlpath": inner})
    query = urlencode({"urlpath": f"git-pull?{pull}"})
    link = providers.understand(f"https://mybinder.org/v2/gh/org/name/main?{query}")
    assert link.path == "/voila/render/a%20b.ipynb"
    text = format_binder_link(providers["gh"], link)
    assert "voila/render/content/a" in unquote(unquote(text))
    assert providers.understand(f"https://hub.example.org/{text}") == link


def test_a_git_server_may_have_a_group_called_v2(providers):
    link = providers.understand("https://code.example.org/v2/group/name.git")
    assert link.spec.provider == "git"


def test_a_repository_may_have_a_folder_called_v2(providers):
    link = providers.understand("https://github.com/org/name/tree/main/v2/app/x")
    assert (link.spec.repo, link.path) == ("org/name", "v2/app/x")
