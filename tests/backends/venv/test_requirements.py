"""Requirement lines of strangers: which reach uv, and which do not."""

from __future__ import annotations

import pytest

from jupyterhub_binder.backends.venv.requirements import Policy, Requirements, choose_lines
from jupyterhub_binder.model import Recipe
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.jobs import make_checkout

POLICY = Policy(index_urls=("https://index.example.org/simple", *Policy().index_urls))


@pytest.fixture
def recipe_of(tmp_path):
    def recipe_of(text: str, files: dict[str, str] | None = None) -> Recipe:
        return read_recipe(
            make_checkout(tmp_path / "checkout", {"requirements.txt": text, **(files or {})})
        )

    return recipe_of


@pytest.fixture
def read(recipe_of):
    def read(text: str, files: dict[str, str] | None = None) -> Requirements:
        return choose_lines(recipe_of(text, files).requirements, POLICY)

    return read


def test_packages_are_taken_as_they_are_meant(read):
    found = read(
        "numpy==1.26.4  # fast\n\npandas[excel] >= 2 ; python_version > '3.8'\nx \\\n ==1\n"
    )
    assert found.packages == [
        "numpy==1.26.4",
        'pandas[excel]>=2; python_version > "3.8"',
        "x==1",
    ]
    assert not found.refused


def test_hashes_are_left_out_because_others_have_none(read):
    assert read("a==1 --hash=sha256:00 \\\n --hash=sha256:11").packages == ["a==1"]


def test_included_files_are_read_relative_to_their_folder(read):
    found = read("-r more/a.txt", {"more/a.txt": "-r b.txt\n-c c.txt", "more/b.txt": "cowsay",
                                   "more/c.txt": "cowsay<6"})  # fmt: skip
    assert found.packages == ["cowsay"]
    assert found.constraints == ["cowsay<6"]


def test_files_that_include_each_other_end(read):
    assert read("-r a.txt", {"a.txt": "-r requirements.txt\n-r a.txt\nx"}).packages == ["x"]


@pytest.mark.parametrize(
    "line",
    [
        "-r ../../etc/passwd",
        "-r /etc/passwd",
        "-r ~/.netrc",
        "-r %2e%2e/secret",
        "-c ../x",
        "-e ..",
        "-e /srv/jupyterhub-binder",
        "./../x",
        "/etc/x.whl",
        "file:///etc/x.whl",
        "x @ file:///etc/x.whl",
        "http://127.0.0.1:8081/hub/api",
        "x @ http://169.254.169.254/latest/meta-data",
        "x @ https://127.0.0.1/x.whl",
        "x @ https://github.com@127.0.0.1/x.whl",
        "x @ https://github.com:8081/x.whl",
        "git+ssh://git@github.com/x/y",
        "git+file:///srv/x",
        "git+https://127.0.0.1/x",
        "git+ext::sh -c whoami",
        "hg+https://github.com/x/y",
        "git+https://github.com/x/y --index-url http://127.0.0.1",
        "-i http://127.0.0.1:8081/simple",
        "--index-url=https://index.example.org.evil.example/simple",
        "--extra-index-url https://index.example.org@evil.example/simple",
        "--extra-index-url https://index.example.org/simple http://127.0.0.1:8081/x/",
        "--extra-index-url=https://index.example.org/simple\thttp://127.0.0.1:8081/x/",
        "--index-url https://index.example.org/simple/ /etc",
        "-f https://index.example.org/simple/ file:///etc",
        "-i https://index.example.org/simple/../evil",
        "-i https://index.example.org/simple/%2e%2E/evil",
        "-i https://index.example.org/simple/..%2fevil",
        "-i https://index.example.org/simple\\..\\evil",
        "-i https://index.example.org\\@evil.example/simple",
        "-i https://index.example.org/simple?x=/../evil",
        "-i https://index.example.org/simple#/../evil",
        "-i ${X}https://index.example.org/simple",
        "-f /etc",
        "--find-links=file:///etc",
        "--trusted-host index.example.org",
        "--no-binary :all:",
        "--config-settings x",
        "x @ https://evil.example/${UV_INDEX_URL}",
        "${SECRET}",
        "x==1 --global-option=--help",
        "not a requirement at all",
        "x\x00y",
        "x\x1b[31m",
        "--unknown",
        "a; " + "(" * 1900 + "python_version>'3'" + ")" * 1900,
        "x" * 5000,
        "-",
    ],
)
def test_line_that_reaches_out_is_refused(recipe_of, line):
    recipe = recipe_of(line)
    found = choose_lines(recipe.requirements, POLICY)
    assert not found.packages
    assert not found.sources
    assert not found.indexes
    assert len(found.refused) + len(recipe.problems) == 1


@pytest.mark.parametrize(
    ("line", "source"),
    [
        (".", "."),
        ("-e .", "-e ."),
        ("-e ./tools[all]", "-e ./tools[all]"),
        ("./a/../b", "./b"),
        ("y.zip", "./y.zip"),
        ("Y-1.0.tar.gz[all]", "./Y-1.0.tar.gz[all]"),
        ("git+https://github.com/x/y@v1#egg=y", "git+https://github.com/x/y@v1#egg=y"),
        ("https://github.com/x/y/releases/y.whl", "https://github.com/x/y/releases/y.whl"),
        ("y @ https://github.com/x/y.tar.gz", "y @ https://github.com/x/y.tar.gz"),
    ],
)
def test_whatever_is_not_from_an_index_is_for_the_sandbox(read, line, source):
    found = read(line)
    assert found.sources == [source]
    assert not found.packages
    assert not found.refused


def test_known_index_is_added(read):
    assert read("--extra-index-url https://download.pytorch.org/whl/cpu\ntorch").indexes == [
        "https://download.pytorch.org/whl/cpu"
    ]


@pytest.mark.parametrize("option", ["-i ", "--index-url=", "--extra-index-url "])
@pytest.mark.parametrize(
    "url", ["https://own.example.org/simple/", "https://pypi.python.org/simple"]
)
def test_index_in_use_is_no_reason_to_refuse(recipe_of, option, url):
    recipe = recipe_of(f"{option}{url}\ncowsay\n")
    own = Policy(own_indexes=("https://own.example.org/simple",))
    found = choose_lines(recipe.requirements, own)
    assert (found.refused, found.indexes, found.packages) == ([], [], ["cowsay"])
    assert found.replaced_pypi is ("pypi" in url)


@pytest.mark.parametrize(
    "line",
    ["-f https://pypi.python.org/simple", "-i https://pypi.python.org/simple/x", "--no-index"],
)
def test_other_places_are_no_index_in_use(read, line):
    assert len(read(line).refused) == 1


def test_endless_file_ends(recipe_of):
    recipe = recipe_of("x\n" * 10_000)
    assert len(recipe.requirements) <= 5000
    assert recipe.problems


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081/x.whl", "file:///etc/x.whl", "./x.whl"])
def test_constraint_names_no_address_for_uv_to_fetch_on_the_host(read, url):
    found = read("-c limits.txt\nx\n", {"limits.txt": f"x @ {url}\n"})
    assert not found.constraints
    assert [one.line.path for one in found.refused] == ["limits.txt"]


@pytest.mark.parametrize("text", [" " * 900_000 + "x", "x" + " " * 900_000 + "x", "\\\n" * 300_000])
def test_work_grows_with_the_length_alone(read, text):
    # In the square of it this would take hours, and hold up everybody.
    assert len(read(text).refused) <= 1
