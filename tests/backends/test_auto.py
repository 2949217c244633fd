"""`auto` gives each recipe to the first backend that can serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyterhub_binder.backends import auto
from jupyterhub_binder.backends.auto import AutoBackend
from jupyterhub_binder.backends.base import Choice, HostState
from jupyterhub_binder.errors import (
    ConfigurationError,
    HubError,
    InvalidInput,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Recipe, Severity
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.backends import FAKES, make_auto
from tests.kit.checkouts import write_files
from tests.kit.jobs import collect, image_of, make_job
from tests.kit.waiting import until


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


def test_reason_is_the_python_that_no_folder_can_have(tmp_path):
    write_files(tmp_path / "checkout", {"runtime.txt": "python-3.8"})
    choice = choose(tmp_path, "requirements.txt", auto=real(tmp_path, "venv", "binderhub"))
    assert (choice.backend.name, choice.why) == (
        "binderhub",
        "It needs Python 3.8, which this hub has no folder interpreter for",
    )


LOCK = 'version = 1\n[[package]]\nname = "six"\nversion = "1.17.0"\n'
PROJECT = '[project]\nname = "a"\nversion = "1"\n'
BUILT = f'{PROJECT}[build-system]\nrequires = ["hatchling"]\n'


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ({"uv.lock": LOCK, "pyproject.toml": PROJECT}, "uv.lock", "none of its packages"),
        ({"uv.lock": LOCK, "pyproject.toml": BUILT}, "uv.lock", "that pyproject.toml allows"),
        ({"pixi.toml": "[workspace]\n"}, "pixi.toml", "List them in environment.yml."),
        ({".python-version": "3.12\n"}, ".python-version", "in runtime.txt"),
    ],
)
def test_what_an_image_leaves_out_is_a_warning(tmp_path, files, path, words):
    write_files(tmp_path / "checkout", files)
    choice = choose(tmp_path, "apt.txt", auto=real(tmp_path, "venv", "binderhub"))
    assert (choice.backend.name, choice.why) == ("binderhub", "apt.txt")
    assert [
        (each.severity, words in each.message)
        for each in choice.assessment.findings
        if each.path == path
    ] == [(Severity.WARNING, True)]


def test_reason_is_the_missing_sandbox(tmp_path):
    choice = choose(tmp_path, "postBuild", auto=real(tmp_path, "venv", "binderhub"))
    assert choice.why == "It runs code of its own, and this hub has no sandbox for folders"


def test_option_that_the_first_lacks_is_no_reason_to_name_packages(tmp_path):
    backend = real(tmp_path, "binderhub", "venv")
    python = backend.makers[1].default_python
    choice = choose(tmp_path, "requirements.txt", auto=backend, python=python)
    assert (choice.backend.name, choice.why) == ("venv", "Python packages only")


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


async def test_backend_that_cannot_start_leaves_the_others_and_is_tried_again(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(auto, "_FIRST_RETRY_SECONDS", 0.0)
    backend = make_auto(tmp_path)
    folders, images = backend.makers
    images.down = "There is no engine."
    await backend.start()
    assert caplog.text.count("There is no engine.") == 1
    assert await backend.health() == "images: There is no engine."
    assert choose(tmp_path, "requirements.txt", auto=backend).possible == (folders,)
    for options in ({}, {"backend": "images"}):
        choice = choose(tmp_path, "apt.txt", auto=backend, **options)
        assert (choice.backend, choice.possible) == (images, ())
        assert [each.code for each in choice.assessment.problems] == ["backend_unavailable"]
    images.down = ""
    await until(lambda: not images.start_failure)
    assert not choose(tmp_path, "apt.txt", auto=backend).assessment.problems
    await backend.stop()


async def test_binderhub_that_does_not_answer_is_a_warning_as_a_build_waits_for_it(tmp_path):
    backend = real(tmp_path, "venv", "binderhub")
    backend.makers[0].environments_root = str(tmp_path / "environments")
    backend.makers[1].url = "http://127.0.0.1:1/"
    await backend.start()
    await until(lambda: backend.statuses()[0].state is HostState.FAILED)
    assessment = choose(tmp_path, "apt.txt", auto=backend).assessment
    assert not assessment.problems
    assert "can't be made now: binderhub does not work" in assessment.findings[0].message
    await backend.stop()


async def test_first_backend_that_cannot_start_gives_its_place_to_the_next(tmp_path):
    backend = make_auto(tmp_path)
    backend.makers[0].down = "The disk is gone."
    await backend.start()
    choice = choose(tmp_path, "requirements.txt", auto=backend)
    assert (choice.backend.name, choice.why) == ("images", "The backend folders could not start")
    await backend.stop()


async def test_service_stops_if_no_backend_can_start(tmp_path):
    backend = make_auto(tmp_path)
    for maker in backend.makers:
        maker.down = f"No {maker.name}."
    with pytest.raises(ConfigurationError, match=r"No folders\. No images\."):
        await backend.start()
    await backend.stop()


async def test_real_backends_that_did_not_start_can_be_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    backend = real(tmp_path, "venv", "repo2docker")
    backend.makers[0].environments_root = str(tmp_path / "environments")
    await backend.start()
    assert "pip install" in backend.makers[1].start_failure
    assert "repo2docker" in backend.fingerprint()
    assert choose(tmp_path, "requirements.txt", auto=backend).backend.name == "venv"
    with pytest.raises(UpstreamUnavailable, match="could not start"):
        await backend.makers[1].find_image("key")
    await backend.stop()


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
