"""Packages of images: what is believed of a list, and what differs between two."""

import pytest

from jupyterhub_binder.builds.packages import MAX_PACKAGES, clean, compare, distinct
from jupyterhub_binder.model.inventory import Inventory, Package, PackageChange


def pip(*lines):
    return [Package(*line.split("==")) for line in lines]


def test_added_removed_and_changed_packages_are_told_apart():
    before = pip("numpy==1.26.4", "six==1.16.0", "pandas==2.2.3")
    after = pip("numpy==2.1.3", "pandas==2.2.3", "polars==1.9.0")
    found = compare(before, after)
    assert found.changed == (PackageChange("numpy", "pip", "1.26.4", "2.1.3"),)
    assert found.added == tuple(pip("polars==1.9.0"))
    assert found.removed == tuple(pip("six==1.16.0"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("ruamel.yaml", "ruamel-yaml"), ("Foo_Bar", "foo-bar"), ("zope.interface", "Zope_Interface")],
)
def test_spellings_of_one_name_are_one_package(one, other):
    assert not compare([Package(one, "1")], [Package(other, "1")])
    assert compare([Package(one, "1")], [Package(other, "2")]).changed[0].after == "2"


def test_the_same_packages_do_not_differ():
    assert not compare(pip("b==1", "a==2"), pip("a==2", "b==1"))


def test_a_package_of_conda_counts_once_though_pip_knows_it_too():
    conda = Package("numpy", "2.1.3", "conda")
    assert distinct([conda, Package("numpy", "2.1.3")]) == (conda,)
    assert distinct([Package("numpy", "2.1.3"), conda]) == (conda,)


def test_what_pip_put_in_the_place_of_a_package_of_conda_wins():
    newer = Package("numpy", "2.2.0")
    assert distinct([Package("numpy", "2.1.3", "conda"), newer]) == (newer,)
    assert distinct([newer, Package("numpy", "2.1.3", "conda")]) == (newer,)


@pytest.mark.parametrize("name", ["", "<script>", "a b", "=cmd", "x" * 300, "a\u202eb", "-x", "x-"])
def test_what_is_no_name_is_left_out(name):
    assert distinct([Package(name, "1")]) == ()


@pytest.mark.parametrize("version", ["", "=1+1", "1\n2", "v" * 101, "<b>"])
def test_what_is_no_version_is_left_out(version):
    assert distinct([Package("numpy", version)]) == ()


def test_names_of_conda_may_begin_with_an_underscore():
    assert distinct([Package("_libgcc_mutex", "0.1", "conda")])


def test_an_inventory_is_bounded():
    many = tuple(Package(f"p{number}", "1") for number in range(MAX_PACKAGES + 10))
    tools = {f"t{number}": "1" * 1000 for number in range(100)}
    found = clean(Inventory(many, lock="x" * 2_000_000, tools=tools, digest="d" * 1000))
    assert len(found.packages) == MAX_PACKAGES
    assert found.lock == ""
    assert len(found.tools) == 20
    assert max(map(len, (*found.tools.values(), found.digest))) == 200
