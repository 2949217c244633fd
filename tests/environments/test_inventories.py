"""What is in a person's builds, and what differs between them."""

import pytest

from jupyterhub_binder.environments.inventories import Inventories
from jupyterhub_binder.errors import InvalidInput, NotFound
from tests.kit.parts import ADMIN, ALICE, BOB


@pytest.fixture
def inventories(service):
    return Inventories(
        store=service.store, environments=service.environments, backend=service.backend
    )


async def build_with(service, environment, packages, **script):
    """Build an environment once more, with other packages; return its build's id."""
    service.backend.script = {"packages": packages, **script}
    asked = await service.environments.build(ALICE, environment.id, force=True)
    await service.finished(asked.latest.build.id)
    return asked.latest.build.id


@pytest.fixture
async def environment(service):
    service.backend.script = {"packages": "numpy==1.26.4 six==1.16.0"}
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    return environment


async def test_a_build_says_what_is_in_its_image(inventories, environment):
    found = await inventories.fetch(ALICE, environment.latest.build.id)
    assert [(p.name, p.version) for p in found.inventory.packages] == [
        ("numpy", "1.26.4"),
        ("six", "1.16.0"),
    ]
    assert found.inventory.lock == "numpy==1.26.4\nsix==1.16.0\n"
    assert (await inventories.fetch(ADMIN, environment.latest.build.id)).inventory
    with pytest.raises(NotFound):
        await inventories.fetch(BOB, environment.latest.build.id)


async def test_a_build_is_compared_with_the_successful_one_before(
    service, inventories, environment
):
    await build_with(service, environment, "", fail_at="building")
    newest = await build_with(service, environment, "numpy==2.1.3 polars==1.9.0")
    contents = await inventories.fetch(ALICE, newest)
    found = await inventories.compare_with(ALICE, contents)
    assert (found.before.number, found.after.number) == (1, 3)
    assert [each.name for each in found.difference.changed] == ["numpy"]
    assert [each.name for each in found.difference.added] == ["polars"]
    assert [each.name for each in found.difference.removed] == ["six"]


async def test_a_build_is_compared_with_any_other_of_its_environment(
    service, inventories, environment
):
    await build_with(service, environment, "numpy==2.1.3")
    first = await inventories.fetch(ALICE, environment.latest.build.id)
    found = await inventories.compare_with(ALICE, first, 2)
    assert found.difference.changed[0].after == "1.26.4"
    with pytest.raises(NotFound):
        await inventories.compare_with(ALICE, first, 9)
    await build_with(service, environment, "", fail_at="building")
    with pytest.raises(InvalidInput):
        await inventories.compare_with(ALICE, first, 3)


async def test_a_first_build_has_nothing_to_be_compared_with(inventories, environment):
    contents = await inventories.fetch(ALICE, environment.latest.build.id)
    assert await inventories.compare_with(ALICE, contents) is None


async def test_a_build_that_found_its_image_made_has_the_packages_of_the_one_that_made_it(
    service, inventories, environment
):
    reused = await service.create(BOB)
    found = await inventories.fetch(BOB, reused.latest.build.id)
    assert [p.name for p in found.inventory.packages] == ["numpy", "six"]


async def test_unknown_packages_are_no_difference(service, inventories, environment):
    newest = await build_with(service, environment, "numpy==2.1.3")
    await service.store._database.run(
        lambda connection: connection.exec_driver_sql("delete from inventories")
    )
    contents = await inventories.fetch(ALICE, newest)
    assert contents.inventory is None
    found = await inventories.compare_with(ALICE, contents)
    assert found.difference is None
