"""Anything that a person pastes: DOIs, badges, links of hubs; every link there and back."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.links.binder import format_binder_link
from jupyterhub_binder.repositories.providers.registry import Providers
from tests.repositories.links.test_understand import specs

providers = Providers(git=Git())
MAIN = Link(Spec("gh", "org/name", "main"))
OLD_GITLAB = Link(Spec("git", "https://lab.example.org/group/sub/repo.git", "main"))
OLD_GITLAB_OF_USER = Link(Spec("git", "https://gitlab.example.org/user/repo.git", "main"))
OLD_GITLAB_BESIDE = Link(Spec("git", "https://hub.example.org/user/repo.git", "main"))
"""Addresses without ``/-/``, on hosts that nobody configured."""
RESOURCE = "8f7c2f0341ef4180b0dbe97f59130756"
ZENODO = Link(Spec("zenodo", "10.5281/zenodo.3242074"))
FIGSHARE = Link(Spec("figshare", "10.6084/m9.figshare.9782777.v2"))
HYDRO = Link(Spec("hydroshare", RESOURCE))
DATAVERSE = Link(Spec("dataverse", "10.7910/DVN/TJCLKP"))
CKAN = Link(Spec("ckan", "https://demo.ckan.org/dataset/sample-1"))


@pytest.mark.parametrize(
    ("text", "link"),
    [
        # DOIs
        ("10.5281/zenodo.3242074", ZENODO),
        ("doi:10.5281/zenodo.3242074", ZENODO),
        ("DOI: 10.5281/zenodo.3242074", ZENODO),
        ("https://doi.org/10.5281/zenodo.3242074", ZENODO),
        ("http://dx.doi.org/10.5281/zenodo.3242074", ZENODO),
        ("doi.org/10.5281/zenodo.3242074.", ZENODO),
        ("https://doi.org/10.5281%2Fzenodo.3242074?from=mail#x", ZENODO),
        ("https://www.doi.org/doi:10.5281/zenodo.3242074", ZENODO),
        ("info:doi/10.5281/zenodo.3242074", ZENODO),
        ("zenodo/10.5281/zenodo.3242074", ZENODO),
        ("https://zenodo.org/record/3242074", ZENODO),
        ("https://zenodo.org/records/3242074#.XYZ", ZENODO),
        ("https://zenodo.org/doi/10.5281/zenodo.3242074", ZENODO),
        ("https://zenodo.org/api/records/3242074/files", ZENODO),
        (
            "https://zenodo.org/records/3242074/files/a%20b/c.ipynb?download=1",
            Link(ZENODO.spec, "a b/c.ipynb"),
        ),
        ("https://sandbox.zenodo.org/records/5", Link(Spec("zenodo", "10.5072/zenodo.5"))),
        ("10.6084/m9.figshare.9782777.v2", FIGSHARE),
        ("https://figshare.com/articles/dataset/A_title/9782777/2", FIGSHARE),
        (
            "https://uni.figshare.com/articles/A_title/9782777?file=1",
            Link(Spec("figshare", "10.6084/m9.figshare.9782777")),
        ),
        ("10.25384/sage.figshare.1.v3", Link(Spec("figshare", "10.25384/sage.figshare.1.v3"))),
        (f"10.4211/hs.{RESOURCE}", HYDRO),
        (f"hydroshare/{RESOURCE}", HYDRO),
        (f"https://www.hydroshare.org/resource/{RESOURCE}/", HYDRO),
        (
            f"https://www.hydroshare.org/resource/{RESOURCE}/data/contents/a/b.csv",
            Link(HYDRO.spec, "a/b.csv"),
        ),
        ("10.7910/DVN/TJCLKP", DATAVERSE),
        (
            "https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP",
            DATAVERSE,
        ),
        (
            "https://data.uni.example/dv/citation?persistentId=doi%3A10.7910%2FDVN%2FTJCLKP",
            DATAVERSE,
        ),
        (
            "https://dataverse.harvard.edu/dataset.xhtml?version=3&persistentId=doi:10.7910/DVN/TJCLKP",
            Link(Spec("dataverse", "10.7910/DVN/TJCLKP", "3.0")),
        ),
        ("https://demo.ckan.org/dataset/sample-1", CKAN),
        ("https://demo.ckan.org/dataset/sample-1/resource/0a1b", CKAN),
        ("https://demo.ckan.org//dataset//sample-1", CKAN),
        (
            "https://demo.ckan.org/dataset//dataset/x",
            Link(Spec("ckan", "https://demo.ckan.org/dataset/dataset")),
        ),
        (
            "https://demo.ckan.org/en/dataset/x",
            Link(Spec("ckan", "https://demo.ckan.org/en/dataset/x")),
        ),
        (
            "https://demo.ckan.org/dataset/x?activity_id=ab-1",
            Link(Spec("ckan", "https://demo.ckan.org/dataset/x?activity_id=ab-1")),
        ),
        (
            "https://demo.ckan.org/dataset/activity/ab-1",
            Link(Spec("ckan", "https://demo.ckan.org/dataset/activity")),
        ),
        (
            "https://git.example.org/dataset/x",
            Link(Spec("git", "https://git.example.org/dataset/x")),
        ),
        ("zenodo/zenodo", Link(Spec("gh", "zenodo/zenodo"))),
        # Badges
        (
            "[![DOI](https://zenodo.org/badge/DOI/10.5281/zenodo.1.svg)]"
            "(https://doi.org/10.5281/zenodo.3242074)",
            ZENODO,
        ),
        ('[![x](b.svg "t")](https://mybinder.org/v2/gh/org/name/main "title")', MAIN),
        ("[open](<https://mybinder.org/v2/gh/org/name/main>)", MAIN),
        (
            '<a href="https://mybinder.org/v2/gh/org/name/main?urlpath=lab&amp;x=1"><img src="x"/></a>',
            MAIN,
        ),
        ("<A target=_blank HREF='https://mybinder.org/v2/gh/org/name/main'>x</A>", MAIN),
        (
            ".. image:: https://mybinder.org/badge_logo.svg\n"
            "   :alt: x\n   :target: https://mybinder.org/v2/gh/org/name/main\n",
            MAIN,
        ),
        ("`Binder <https://mybinder.org/v2/gh/org/name/main>`_", MAIN),
        ("image:b.svg[Binder, link=https://mybinder.org/v2/gh/org/name/main]", MAIN),
        # Pages that show repositories
        (
            "https://nbviewer.org/github/org/name/blob/main/a.ipynb",
            Link(MAIN.spec, "a.ipynb", "main/a.ipynb"),
        ),
        (
            "https://colab.research.google.com/github/org/name/blob/main/a.ipynb",
            Link(MAIN.spec, "a.ipynb", "main/a.ipynb"),
        ),
        ("https://github.dev/org/name/tree/main", MAIN),
        # Pull and merge requests
        ("https://github.com/org/name/pull/12", Link(Spec("gh", "org/name", "refs/pull/12/head"))),
        (
            f"https://github.com/org/name/pull/12/commits/{'a' * 40}",
            Link(Spec("gh", "org/name", "a" * 40)),
        ),
        ("gh/org/name/pull/12/head", Link(Spec("gh", "org/name", "refs/pull/12/head"))),
        ("gh/org/name/pull/12/merge", Link(Spec("gh", "org/name", "refs/pull/12/merge"))),
        (
            "gl/a%2Fb/merge-requests/3/head",
            Link(Spec("gl", "a/b", "refs/merge-requests/3/head")),
        ),
        (
            "https://codeberg.org/a/b/pulls/4",
            Link(Spec("git", "https://codeberg.org/a/b", "refs/pull/4/head")),
        ),
        # SSH
        ("ssh://git@gitlab.com:22/a/b.git", Link(Spec("gl", "a/b"))),
        ("git+ssh://git@github.com/org/name.git", Link(Spec("gh", "org/name"))),
        # JupyterHub
        (
            "https://hub.example.org/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Forg"
            "%2Fname&branch=main&urlpath=lab%2Ftree%2Fname%2Fa%2Fb.ipynb",
            Link(MAIN.spec, "a/b.ipynb"),
        ),
        (
            "https://hub.example.org/user/ada/git-pull?repo=https://github.com/org/name"
            "&branch=main&targetPath=x/y&urlpath=tree/x/y/b.ipynb",
            Link(MAIN.spec, "b.ipynb"),
        ),
        (
            "https://hub.example.org/hub/user-redirect/git-pull?repo=https://github.com/org/name"
            "&branch=main&urlpath=rstudio/",
            Link(MAIN.spec, "/rstudio/"),
        ),
        (
            "https://hub.example.org/hub/login?next="
            + quote("/hub/user-redirect/git-pull?repo=https://github.com/org/name&branch=main"),
            MAIN,
        ),
        (
            "https://hub.example.org/services/binder/new?url=https://github.com/org/name&ref=main",
            MAIN,
        ),
        ("https://hub.example.org/services/binder/v2/gh/org/name/main", MAIN),
        (
            "https://hub.example.org/hub/login?next=%2Fservices%2Fbinder%2Fv2%2Fgh%2Forg%2Fname%2Fmain",
            MAIN,
        ),
        ("https://github.com/hub/spawn", Link(Spec("gh", "hub/spawn"))),
        ("https://lab.example.org/group/sub/repo/tree/main", OLD_GITLAB),
        ("https://gitlab.example.org/user/repo/tree/main", OLD_GITLAB_OF_USER),
        (
            "https://gitlab.example.org/user/repo/blob/main/a.ipynb",
            replace(OLD_GITLAB_OF_USER, path="a.ipynb", tail="main/a.ipynb"),
        ),
        ("https://hub.example.org/user/repo/blob/main/", OLD_GITLAB_BESIDE),
        (
            "https://g.example.org/scm/project/tree",
            Link(Spec("git", "https://g.example.org/scm/project/tree")),
        ),
        (
            "https://g.example.org/a/b/tree/x.git",
            Link(Spec("git", "https://g.example.org/a/b/tree/x.git")),
        ),
    ],
)
def test_what_people_paste_is_understood(text: str, link: Link):
    assert providers.understand(text) == link


PULL = {
    "repo": "https://github.com/org/content.git",
    "branch": "v1",
    "urlpath": "lab/tree/content/a b.ipynb",
}
CONTENT = Link(
    MAIN.spec, "a b.ipynb", content_url="https://github.com/org/content.git", content_ref="v1"
)


@pytest.mark.parametrize(
    "query",
    [
        urlencode({"urlpath": f"git-pull?{urlencode(PULL)}"}),
        urlencode({"urlpath": f"/git-pull?{urlencode(PULL)}"}),
        f"urlpath=git-pull?{urlencode(PULL)}",  # as it is when nobody escaped it
    ],
)
def test_a_link_may_bring_the_files_of_another_repository(query: str):
    assert providers.understand(f"https://mybinder.org/v2/gh/org/name/main?{query}") == CONTENT


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        (
            "https://hub.example.org/hub/spawn/ada/server",
            "leads to a running server",
            "not_understood",
        ),
        (
            "https://hub.example.org/user/ada/lab/tree/x",
            "leads to a running server",
            "not_understood",
        ),
        (
            "https://hub.example.org/user/ada/second/tree/x",
            "leads to a running server",
            "not_understood",
        ),
        ("https://hub.example.org/user/ada/", "leads to a running server", "not_understood"),
        (
            "https://hub.example.org/hub/user-redirect/lab",
            "leads to a running server",
            "not_understood",
        ),
        (
            "https://hub.example.org/services/binder/environments/k7m2p9qx4t",
            "page of this hub",
            "page_of_this_service",
        ),
        (
            "https://hub.example.org/user/repo/tree/main",
            "without what follows its name",
            "not_understood",
        ),
        (
            "https://git.example.org/linux.git/x/tree/Makefile?h=v6.1",
            "does not say which version",
            "not_understood",
        ),
        ("https://data.example.org/dataset.xhtml?persistentId=hdl:1/2", "a DOI", "not_understood"),
        (
            "https://hub/hub/login?next=/hub/login%3Fnext%3D/hub/login",
            "leads to",
            "not_understood",
        ),
        (
            "https://hub.example.org/hub/login?next=javascript:alert(1)",
            "not a link",
            "not_understood",
        ),
        ("gh/org/name/pull/0/..", "branch", "not_understood"),
    ],
)
def test_what_names_no_repository_says_why(text: str, words: str, code: str):
    with pytest.raises(NotUnderstood, match=words) as caught:
        providers.understand(text)
    assert caught.value.error_code == code


def test_links_in_links_end_somewhere():
    url = "https://github.com/org/name"
    for _ in range(5):
        url = f"https://h.example.org/hub/login?next={quote(url, safe='')}"
    with pytest.raises(NotUnderstood, match="too many other links"):
        providers.understand(url)


# --- Every link there and back --------------------------------------------------------------------

doi_tail = st.from_regex(r"[A-Za-z0-9()_:-]{1,20}(/[A-Za-z0-9_-]{1,10})?", fullmatch=True)
number = st.integers(1, 10**9).map(str)
digits = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
slug = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
records = st.one_of(
    number.map(lambda n: Spec("zenodo", f"10.5281/zenodo.{n}")),
    st.tuples(number, number).map(
        lambda n: Spec("figshare", f"10.6084/m9.figshare.{n[0]}.v{n[1]}")
    ),
    digits.map(lambda text: Spec("hydroshare", text)),
    st.tuples(doi_tail, st.sampled_from(["HEAD", "1.0", "12.34"])).map(
        lambda two: Spec("dataverse", f"10.7910/{two[0]}", two[1])
    ),
    slug.map(lambda text: Spec("ckan", f"https://demo.ckan.org/dataset/{text}")),
    st.tuples(slug, slug).map(
        lambda s: Spec(
            "ckan",
            f"https://demo.ckan.org/x/dataset/{s[0]}?activity_id={s[1].strip('_').replace('_', '-') or 'a'}",
        )
    ),
)
segment = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=12
).filter(lambda text: text not in (".", "..", ".git") and text.isprintable())
paths = st.lists(segment | st.just("a b"), max_size=3).map("/".join)
addresses = st.sampled_from(
    [
        *("/rstudio", "/shiny/app/", "/vscode", "/desktop", "/tree", "/lab/workspaces/w"),
        *("/voila/render/a%20b/c.ipynb?x=1", "/retro/notebooks/a.ipynb", "/retro/tree/name/a"),
        *("/proxy/8501/", "/proxy/8000/a%20b?u=https://a.example/#x", "/a&b=c;d+e"),
    ]
)


@st.composite
def links(draw: st.DrawFn) -> Link:
    spec = draw(specs() | records)
    path = draw(paths | addresses)
    if draw(st.booleans()):
        return Link(spec, path)
    name = draw(slug)
    return Link(
        spec,
        path,
        content_url=f"https://git.example.org/{name}.git",
        content_ref=draw(st.sampled_from(["", "main", "feature/a", "é+%&=#"])),
    )


@given(links())
@example(
    Link(
        Spec("gh", "org/name", "HEAD"), path="a #1/100%.ipynb", content_url="https://github.com/o/n"
    )
)
def test_every_link_goes_there_and_back(link: Link):
    text = format_binder_link(providers[link.spec.provider], link)
    assert providers.understand(f"https://hub.example.org/services/binder/{text}") == link


@given(records)
def test_specs_of_records_go_there_and_back(spec: Spec):
    provider = providers[spec.provider]
    text = provider.format_spec(spec)
    assert provider.parse_spec(text) == spec
    assert providers.understand(f"{spec.provider}/{text}").spec == spec
    assert providers.identities(spec)


pieces = st.sampled_from(
    [
        *(
            "https://",
            "http://",
            "ssh://git@",
            "//",
            "/",
            ":",
            "?",
            "#",
            "&",
            "=",
            "%2F",
            "%",
            "\n",
        ),
        *("github.com", "gitlab.com", "zenodo.org", "mybinder.org", "doi.org/", "hub.example.org"),
        *(
            "/v2/gh/",
            "/v2/ckan/",
            "org/name",
            "/tree/",
            "/blob/",
            "main",
            "pull/1",
            "10.5281/",
            "doi:",
        ),
        *(
            "git-pull?repo=",
            "urlpath=",
            "labpath=",
            "next=",
            "url=",
            "/hub/login?",
            "/services/b/new?",
        ),
        *(
            "[![",
            "](",
            ")",
            '<a href="',
            '">',
            "..",
            ".. image::",
            ":target: ",
            "`x <",
            ">`_",
            "@",
            "\\",
        ),
        *("/dataset/", "dataset.xhtml?persistentId=doi:", "figshare.1.v2", "zenodo.1", "lab/tree/"),
    ]
)


@settings(max_examples=1000)
@given(st.lists(pieces | st.text(max_size=5), max_size=14).map("".join))
@example("[" * 2000)
@example("](" * 1000)
@example("<a " * 660)
@example("/" * 2000)
@example("https://a.example" + "/hub" * 400)
@example("https://a.example" + "/x" * 900 + "/git-pull?repo=")
@example(".. image:: x\n" + ":target:\n" * 200)
@example("10.5281/" + "%25" * 600)
@example("https://mybinder.org/v2/gh/a/b/" + "%2e%2e%2f" * 200)
@example("https://" + "a." * 950)
@example("image:" + "[link=" * 330)
def test_any_text_is_understood_or_refused_soon(text: str):
    began = time.process_time()
    with contextlib.suppress(NotUnderstood):
        spec = providers.understand(text).spec
        provider = providers[spec.provider]
        assert provider.parse_spec(provider.format_spec(spec)) == spec
        providers.check(spec)
    assert time.process_time() - began < 0.5
