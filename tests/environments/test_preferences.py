"""What people prefer: pinned environments, and the application that opened last."""

from __future__ import annotations

import pytest

from jupyterhub_binder.environments.applications import (
    address_of_file,
    find_applications,
    opens_in,
)
from jupyterhub_binder.environments.preferences import Preferences
from jupyterhub_binder.errors import InvalidInput, NotFound
from jupyterhub_binder.model.inventory import Inventory, Package
from jupyterhub_binder.model.preferences import Preference
from tests.kit.parts import ADMIN, ALICE, BOB, Service


def preferences_of(service: Service) -> Preferences:
    return Preferences(store=service.store, environments=service.environments)


@pytest.mark.parametrize(
    ("packages", "names"),
    [
        ((), ""),
        (("numpy",), ""),
        (("jupyterlab", "notebook"), "JupyterLab Notebook"),
        (
            ("JupyterLab", "jupyter_rsession_proxy", "jupyter-vscode-proxy"),
            "JupyterLab RStudio VS Code",
        ),
    ],
)
def test_applications_are_known_by_their_packages(packages: tuple[str, ...], names: str) -> None:
    assert " ".join(each.name for each in find_applications(packages)) == names


@pytest.mark.parametrize(
    ("packages", "preferred", "path", "opened"),
    [
        (("jupyterlab", "notebook"), "", "a b.ipynb", "a b.ipynb"),
        (("jupyterlab", "notebook"), "/tree", "a b#1.ipynb", "/tree/a%20b%231.ipynb"),
        (("jupyterlab", "voila"), "/voila", "a.ipynb", "/voila/render/a.ipynb"),
        (("jupyterlab", "voila"), "/voila", "README.md", "README.md"),
        (("jupyterlab", "jupyter-rsession-proxy"), "/rstudio", "a.ipynb", "a.ipynb"),
        (("notebook",), "", "a.ipynb", "/tree/a.ipynb"),
        ((), "/tree", "a.ipynb", "a.ipynb"),
        (("notebook",), "", "é" * 400 + ".ipynb", "é" * 400 + ".ipynb"),
    ],
)
def test_a_file_opens_in_the_chosen_application_if_that_opens_such_files(
    packages: tuple[str, ...], preferred: str, path: str, opened: str
) -> None:
    application = opens_in(path, preferred, find_applications(packages))
    assert address_of_file(path, application) == opened


async def test_pinned_environments_stand_on_top_of_the_list_of_who_pinned_them(
    service: Service,
) -> None:
    preferences = preferences_of(service)
    made = [await service.create(name=name, build=False) for name in ("one", "two", "three")]
    await preferences.set(ALICE, made[0].id, pinned=True)
    names = [e.name for e in (await service.environments.list(ALICE)).items]
    assert names == ["one", "three", "two"]
    names = [e.name for e in (await service.environments.list(ALICE, order="name")).items]
    assert names == ["one", "three", "two"]
    everyone = await service.environments.list(ADMIN, owner="*")
    assert [e.name for e in everyone.items] == ["three", "two", "one"]
    await preferences.set(ALICE, made[0].id, pinned=False)
    assert (await service.environments.list(ALICE)).items[0].name == "three"


async def test_nobody_prefers_anything_in_what_they_may_not_see(service: Service) -> None:
    environment = await service.create(build=False)
    with pytest.raises(NotFound):
        await preferences_of(service).set(BOB, environment.id, pinned=True)


async def test_application_that_was_chosen_opens_until_it_is_gone(service: Service) -> None:
    preferences = preferences_of(service)
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    packages = (Package("jupyterlab", "4"), Package("jupyter-rsession-proxy", "2"))
    await service.store.put_inventory(build.id, Inventory(packages))
    assert await preferences.find_opening(ALICE, environment.id) is None
    with pytest.raises(InvalidInput, match="does not have that application"):
        await preferences.set(ALICE, environment.id, opens="/vscode")
    await preferences.set(ALICE, environment.id, opens="/rstudio")
    assert await preferences.find_opening(ALICE, environment.id) == "/rstudio"
    await preferences.set(ALICE, environment.id, pinned=True)
    kept = await service.environments.get(ALICE, environment.id)
    assert await preferences.get(ALICE, kept) == Preference(True, "/rstudio")
    await service.store.put_inventory(build.id, Inventory(packages[:1]))
    assert await preferences.find_opening(ALICE, environment.id) is None
