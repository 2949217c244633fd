"""Which files of a repository are offered to be opened."""

from __future__ import annotations

from jupyterhub_binder.repositories.listing import MAX_NOTEBOOKS, choose, read_tree

LONG = f"{'a' * 120}/{'b' * 120}.ipynb"


def test_the_readme_comes_first_then_notebooks_in_the_order_of_people() -> None:
    paths = ("week 10/a.ipynb", "week 2/B.ipynb", "week 2/more/c.ipynb", "z.ipynb", "2.ipynb")
    found = choose((*paths, "README.rst", "Readme.md", "docs/README.md", "data.csv", "week 2/x.py"))
    assert found.readmes == ("Readme.md", "README.rst")
    assert found.notebooks == (
        *("2.ipynb", "z.ipynb", "week 2/B.ipynb", "week 2/more/c.ipynb", "week 10/a.ipynb"),
    )
    assert found.total == 7
    assert found.find("WEEK 2 ipynb") == ("week 2/B.ipynb", "week 2/more/c.ipynb")


def test_names_that_nobody_can_read_or_open_are_left_out() -> None:
    hostile = (
        *("a\u202ebynpi.ipynb", "a\x1b[2J.ipynb", "line\nbreak.ipynb", "zero\u200bwidth.ipynb"),
        *("not utf-8 \ufffd.ipynb", " space.ipynb", "back\\slash.ipynb", "../out.ipynb"),
        *(".ipynb_checkpoints/a.ipynb", "a/.hidden/b.ipynb", "x" * 1001 + ".ipynb"),
    )
    kept = ("<b>.ipynb", "a#b?c%41.ipynb", "شرح.ipynb", LONG)
    found = choose((*hostile, *kept))
    assert set(found.notebooks) == set(kept)
    assert found.total == len(kept)


def test_more_notebooks_than_anybody_reads_are_counted() -> None:
    found = choose(f"{number}.ipynb" for number in range(MAX_NOTEBOOKS + 5))
    assert (len(found.notebooks), found.total) == (MAX_NOTEBOOKS, MAX_NOTEBOOKS + 5)


def test_links_and_submodules_are_no_files() -> None:
    sha = "0" * 40
    entries = (
        *(f"100644 blob {sha}\ta\tb.ipynb", f"120000 blob {sha}\tlink.ipynb"),
        *(f"160000 commit {sha}\tmodule.ipynb", ""),
    )
    assert list(read_tree("\0".join(entries))) == ["a\tb.ipynb"]
