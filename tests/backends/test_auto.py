"""`auto` gives each recipe to the first backend that can serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyterhub_binder.backends.auto import AutoBackend
from jupyterhub_binder.backends.base import Choice
from jupyterhub_binder.errors import ConfigurationError, HubError, InvalidInput
from jupyterhub_binder.model import Recipe
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.backends import FAKES, make_auto
from tests.kit.checkouts import write_files
from tests.kit.jobs import collect, image_of, make_job


def recipe_of(folder: Path, *names: str) -> Recipe:
    write_files(folder, dict.fromkeys(names, "numpy\n"))
    return read_recipe(folder)


def choose(tmp_path: Path, *names: str, auto: AutoBackend | None = None, **options: Any) -> Choice:
    auto = auto or make_auto(tmp_path)
    return auto.choose(recipe_of(tmp_path / "checkout", *names), options, "gh")


def real(tmp_path: Path, *backends: str) -> AutoBackend:
    return make_auto(tmp_path, backends=list(backends))


@pytest.mark.parametrize(
    ("name", "chosen", "why"),
    [
        ("requirements.txt", "venv", "Python packages only"),
        ("apt.txt", "binderhub", "apt.txt"),
        ("Dockerfile", "binderhub", "Dockerfile"),
        ("Project.toml", "binderhub", "Project.toml"),
    ],
)
def test_recipe_decides(tmp_path, name, chosen, why):
    choice = choose(tmp_path, name, auto=real(tmp_path, "venv", "binderhub"))
    assert (choice.backend.name, choice.why) == (chosen, why)
    assert not choice.assessment.problems


def test_order_decides_where_both_can(tmp_path):
    choice = choose(tmp_path, "requirements.txt", auto=real(tmp_path, "binderhub", "venv"))
    assert (choice.backend.name, choice.why) == ("binderhub", "")
    assert [each.name for each in choice.possible] == ["binderhub", "venv"]


def test_only_those_that_can_are_possible(tmp_path):
    assert [each.name for each in choose(tmp_path, "apt.txt").possible] == ["images"]


def test_if_none_can_the_least_problems_are_told(tmp_path):
    backend = make_auto(tmp_path)
    backend.makers[1].refuses = ["Dockerfile"]
    choice = choose(tmp_path, "Dockerfile", auto=backend)
    assert (choice.backend.name, choice.possible) == ("images", ())
    assert [each.path for each in choice.assessment.problems] == ["Dockerfile"]


def test_person_chooses_another_that_can(tmp_path):
    choice = choose(tmp_path, "requirements.txt", backend="images")
    assert (choice.backend.name, choice.why) == ("images", "Chosen in the settings")


def test_choice_that_cannot_serve_says_what_to_do(tmp_path):
    (problem,) = choose(tmp_path, "apt.txt", backend="folders").assessment.problems
    assert problem.message.endswith(
        "This environment is set to be made as a folder. Choose another way in its settings."
    )


def test_repository_that_only_a_backend_can_reach_goes_to_it(tmp_path):
    choice = real(tmp_path, "venv", "binderhub").choose(None, {}, "git")
    assert choice.backend.name == "binderhub"


def test_options_are_those_of_a_backend_that_takes_them(tmp_path):
    backend = real(tmp_path, "venv", "binderhub")
    python = backend.makers[0].default_python
    assert backend.clean_options({"python": python}) == {"python": python}
    assert backend.clean_options({"backend": "venv"}) == {"backend": "venv"}
    with pytest.raises(InvalidInput, match=r"It has venv, binderhub\."):
        backend.clean_options({"backend": "other"})
    with pytest.raises(InvalidInput, match=r"With the backend binderhub: .* no option 'python'"):
        backend.clean_options({"backend": "binderhub", "python": python})
    assert choose(tmp_path, auto=backend, python=python).backend.name == "venv"


async def test_removal_goes_to_the_backend_that_made_it(tmp_path):
    backend = make_auto(tmp_path)
    folder, image = make_job(), make_job(repo="org/other", options={"backend": "images"})
    names = [image_of(await collect(backend, job)).name for job in (folder, image)]
    assert {each.name for each in await backend.list_images()} == set(names)
    await backend.delete_image(names[1])
    assert await backend.find_image(folder.build.key) == names[0]
    assert await backend.find_image(image.build.key) is None


async def test_health_names_the_backend_that_is_down_and_the_other_works(tmp_path, monkeypatch):
    backend = make_auto(tmp_path)
    job = make_job()
    image = image_of(await collect(backend, job))

    async def down(*_: object) -> None:
        raise HubError("The engine is down.")

    async def ill() -> str:
        return "The engine is down."

    monkeypatch.setattr(backend.makers[1], "find_image", down)
    monkeypatch.setattr(backend.makers[1], "health", ill)
    assert await backend.health() == "images: The engine is down."
    assert await backend.find_image(job.build.key) == image.name
    with pytest.raises(HubError):
        await backend.find_image("another")


def test_what_the_spawner_cannot_start_is_never_made(tmp_path):
    backend = make_auto(tmp_path, startable=["folder"])
    assert [each.name for each in backend.makers] == ["folders"]
    assert choose(tmp_path, "apt.txt", auto=backend).assessment.problems
    with pytest.raises(ConfigurationError, match="can't start what any of them makes"):
        make_auto(tmp_path, startable=["folder"], backends=FAKES[1:])


@pytest.mark.parametrize(
    ("backends", "why"),
    [
        (["auto"], "can't contain `auto`"),
        (["venv", "venv"], "names a backend twice"),
        (["vnev"], "AutoBackend.backends is 'vnev'; there are"),
        (["no.such.Backend"], "can't be imported"),
        (["pathlib.Path"], "is not a backend"),
    ],
)
def test_wrong_list_is_refused(tmp_path, backends, why):
    with pytest.raises(ConfigurationError, match=why):
        make_auto(tmp_path, backends=backends)
