"""What the venv backend makes of configuration files, before anything is built."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from jupyterhub_binder.backends.venv.conda.channels import channels_of
from jupyterhub_binder.backends.venv.conda.choice import CondaOffer
from jupyterhub_binder.backends.venv.plan import (
    Offer,
    assess,
    choose_python,
    make_plan,
    reuse,
    with_python,
)
from jupyterhub_binder.backends.venv.uv import (
    index_urls,
    names_any,
    redact,
    uv_environment,
    without_secrets,
)
from jupyterhub_binder.model import Recipe, RecipeFile
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.conda import conda_lock
from tests.kit.jobs import make_checkout

OFFER = Offer(pythons={"3.9": "a", "3.11": "b", "3.13": "c"}, default_python="3.11", runs_code=True)


def recipe(python: str = "", **files: str) -> Recipe:
    named = {name.replace("__", "."): text for name, text in files.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = read_recipe(make_checkout(Path(folder) / "checkout", named))
    return replace(found, python=python) if python else found


def plan(given: Recipe, offer: Offer = OFFER):
    return make_plan(given, offer)


def problems(given: Recipe, offer: Offer = OFFER) -> list[str]:
    return [problem.message for problem in (*given.problems, *assess(given, offer).problems)]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("", "3.11"),
        ("3.9", "3.9"),
        ("3.9.2", "3.9"),
        ("=3.13", "3.13"),
        ("3", "3.11"),
        ("3.13.*", "3.13"),
        (">=3.10", "3.11"),
        (">=3.12", "3.13"),
        (">=3.9.4,<3.10", "3.9"),
        ("<3.11", "3.9"),
        ("3.7", None),
        ("2.7", None),
        (">4", None),
        ("rubbish", None),
        ("3." + "9" * 5000, None),
    ],
)
def test_python_is_chosen_from_what_there_is(asked, chosen):
    assert choose_python(asked, OFFER) == chosen


@pytest.mark.parametrize(
    ("preferred", "asked", "chosen", "warned"),
    [
        ("3.13", "", "3.13", False),
        ("3.13.2", ">=3.9", "3.13", False),
        ("3.13", "<3.12", "3.11", True),
        ("3.14", "", "3.11", True),
    ],
)
def test_a_preferred_python_is_chosen_if_there_is_a_choice(preferred, asked, chosen, warned):
    given = replace(recipe(asked), preferred_python=preferred)
    made, assessment = plan(given)
    assert made.python == chosen
    assert [one.code for one in assessment.findings] == ["python_other"] * warned


def test_missing_python_names_those_there_are():
    assert "3.9, 3.11, 3.13" in problems(recipe(python="3.7"))[0]


@pytest.mark.parametrize("kind", ["apt.txt", "install.R", "Project.toml", "default.nix",
                                  "Dockerfile", "Pipfile"])  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(kind):
    given = Recipe(files=(RecipeFile(kind, kind, used=True),))
    assert problems(given)[0].startswith(f"{kind}: ")
    assert not assess(given, OFFER).actions[0].supported


@pytest.mark.parametrize(
    "files",
    [
        {"requirements__txt": "-e .", "setup__py": ""},
        {"requirements__txt": "./tools"},
        {"requirements__txt": "tools @ git+https://github.com/org/tools"},
        {"setup__py": ""},
        {"postBuild": "#!/bin/sh"},
    ],
    ids=["editable", "folder", "address", "package", "postBuild"],
)
def test_an_environment_that_a_repositorys_code_decides_is_not_shared(files):
    assert not reuse(recipe(**files), OFFER).self_contained


@pytest.mark.parametrize(
    ("text", "open_versions"),
    [("numpy==2.0.0", False), ("numpy", True), ("numpy>=2\npandas==2.2", True), ("", True)],
)
def test_an_environment_of_packages_alone_is_shared(text, open_versions):
    found = reuse(recipe(requirements__txt=text), OFFER)
    assert (found.self_contained, found.open_versions) == (True, open_versions)


def test_unused_file_speaks_against_nothing():
    given = Recipe(files=(RecipeFile("Dockerfile", "Dockerfile", used=False),))
    assert problems(given) == []


def test_conda_packages_are_refused_by_name_and_pip_ones_taken():
    text = """
name: x
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - conda-forge::gdal>=3
  - r-base
  - pip: [cowsay==6.1]
"""
    given = recipe(environment__yml=text)
    assert "gdal and r-base" in problems(given)[0]
    assert plan(given)[0].requirements.packages == ["cowsay==6.1"]


CONDA = replace(
    OFFER,
    conda=CondaOffer(
        channels=channels_of(
            {"conda-forge": "https://mirror.example.org/conda-forge", "lab": "file:///srv/lab"},
            ["conda-forge"],
            own_order=False,
        ),
        platform="linux-64",
        pythons=("3.10", "3.12"),
        installed=True,
    ),
)


def environment(*packages: object, **more: object) -> Recipe:
    return recipe(environment__yml=json.dumps({"dependencies": list(packages), **more}))


def test_conda_packages_come_from_the_channels_in_the_files_order():
    given = environment(
        "python>=3.10",
        "gdal =3.8",
        "lab::words",
        "numpy[version='>=1,<2']",
        {"pip": ["cowsay"]},
        channels=["lab", "https://conda.anaconda.org/conda-forge/", "nodefaults"],
        variables={"A": "b"},
    )
    assert problems(given, CONDA) == []
    made, assessment = plan(given, CONDA)
    assert made.conda is not None
    assert [one.name for one in made.conda.channels] == ["lab", "conda-forge"]
    assert made.conda.specs == [
        "gdal =3.8",
        "file:///srv/lab::words",
        "numpy[version='>=1,<2']",
    ]
    assert (made.conda.python, made.python) == (["python>=3.10"], "3.12")
    assert (made.requirements.packages, made.variables) == (["cowsay"], {"A": "b"})
    assert assessment.actions[0].action == (
        "Installs 3 conda packages from lab and conda-forge and one package under `pip:`"
    )


def test_the_hubs_order_of_channels_counts_if_the_admin_says_so():
    channels = replace(CONDA.conda.channels, in_own_order=True)
    offer = replace(CONDA, conda=replace(CONDA.conda, channels=channels))
    made, _ = plan(environment("gdal", channels=["lab", "conda-forge"]), offer)
    assert made.conda is not None
    assert [one.name for one in made.conda.channels] == ["conda-forge", "lab"]


@pytest.mark.parametrize(
    ("packages", "channels", "said"),
    [
        (["gdal"], ["defaults"], "does not allow the channel defaults. It allows conda-forge, lab"),
        (["gdal"], ["https://mirror.example.org/other"], "does not allow the channel https://"),
        (["bioconda::gdal"], [], "does not allow the channel bioconda"),
        (["gdal[channel=defaults]"], [], "does not understand it"),
        (["gdal[url='https://example.org/gdal-1-0.conda']"], [], "does not understand it"),
        (["https://example.org/gdal-1-0.conda"], [], "does not understand it"),
        (["gdal", "__glibc>=2"], [], "a property of the machine"),
        (["gdal", "python=3.7"], [], "asks for Python 3.7, but this hub has 3.10, 3.12"),
    ],
)
def test_what_a_channel_must_not_or_cannot_serve_is_said_before_the_build(packages, channels, said):
    (problem,) = problems(environment(*packages, channels=channels), CONDA)
    assert said in problem


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conda": replace(CONDA.conda, installed=False)}, "install jupyterhub-binder[conda]"),
        ({"isolated": False, "why_not": "Install bubblewrap."}, "Install bubblewrap."),
        ({"conda": CondaOffer()}, "This hub installs no conda packages."),
    ],
)
def test_a_hub_without_conda_says_what_it_lacks(changes, said):
    (problem,) = problems(environment("gdal"), replace(CONDA, **changes))
    assert "can't install conda packages (gdal)" in problem
    assert said in problem


def test_python_alone_comes_from_the_channel_only_if_the_hub_has_no_such_interpreter():
    assert plan(environment("python=3.11", {"pip": ["cowsay"]}), CONDA)[0].conda is None
    made, _ = plan(environment("python=3.12", {"pip": ["cowsay"]}), CONDA)
    assert made.conda is not None
    assert (made.python, made.conda.python) == ("3.12", ["python=3.12"])


def test_a_persons_choice_of_python_takes_the_place_of_the_files():
    given = with_python(environment("python=3.12", "gdal"), {"python": "3.10"})
    made, _ = plan(given, CONDA)
    assert made.conda is not None
    assert (made.python, made.conda.python) == ("3.10", ["python 3.10.*"])


FORGE = "https://conda.anaconda.org/conda-forge/linux-64"
LOCK = conda_lock(
    [(f"{FORGE}/python-3.12.1-h1_0.conda", "a" * 64), (f"{FORGE}/words-1.0-0.conda", "b" * 64)],
    [("cowsay", "6.0", "c" * 64)],
)


def test_a_lock_decides_and_its_packages_come_from_the_hubs_mirror():
    given = recipe(**{"conda-lock__yml": LOCK, "environment__yml": "dependencies: [words]"})
    assert problems(given, CONDA) == []
    made, assessment = plan(given, CONDA)
    assert made.conda is not None
    assert [one.url for one in made.conda.packages] == [
        "https://mirror.example.org/conda-forge/linux-64/python-3.12.1-h1_0.conda",
        "https://mirror.example.org/conda-forge/linux-64/words-1.0-0.conda",
    ]
    assert (made.python, made.conda.specs) == ("3.12", [])
    assert made.requirements.packages == ["cowsay==6.0"]
    assert made.requirements.hashes == {"cowsay==6.0": (f"sha256:{'c' * 64}",)}
    assert {action.path: action.action for action in assessment.actions} == {
        "environment.yml": "Not used: conda-lock.yml has the versions",
        "conda-lock.yml": "Installs 2 conda packages from conda-forge and one package under `pip:`",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("linux-64", "osx-64"), "is not for this hub's platform, linux-64, but for: osx-64"),
        (
            ("url: https://conda.anaconda.org/conda-forge", "url: http://127.0.0.1/x"),
            "on 127.0.0.1",
        ),
        (("linux-64/words", "linux-64/../words"), "does not allow its channel"),
        (("b" * 64, ""), "no SHA-256"),
        (("3.12.1", "3.8.1"), "asks for Python 3.8, but this hub has 3.10, 3.12"),
        (("- url: conda-forge", "- url: defaults"), "does not allow the channel defaults"),
    ],
)
def test_what_a_lock_names_and_the_hub_does_not_have_is_said_before_the_build(change, said):
    found = problems(recipe(**{"conda-lock__yml": LOCK.replace(*change)}), CONDA)
    assert any(said in problem for problem in found)


def test_a_chosen_python_that_a_lock_does_not_have_is_refused():
    given = with_python(recipe(**{"conda-lock__yml": LOCK}), {"python": "3.10"})
    (problem,) = problems(given, CONDA)
    assert problem.startswith("conda-lock.yml is for Python 3.12.1")


def test_a_hub_without_conda_takes_the_file_beside_a_lock():
    text = "dependencies: [python=3.11, {pip: [cowsay]}]"
    given = recipe(**{"conda-lock__yml": LOCK, "environment__yml": text})
    assert problems(given) == []
    assert plan(given)[0].requirements.packages == ["cowsay"]
    (problem,) = problems(recipe(**{"conda-lock__yml": LOCK}))
    assert "can't install conda packages (python and words)" in problem


def test_environment_of_pip_packages_is_served():
    given = recipe(environment__yml="dependencies: [python=3.11, pip, {pip: [cowsay]}]")
    assert problems(given) == []
    assert assess(given, OFFER).actions[0].action == "Installs one package"


def test_post_build_without_a_sandbox_is_refused_with_what_to_do():
    offer = replace(OFFER, runs_code=False, why_not="Install bubblewrap.")
    assert problems(recipe(postBuild="x"), offer) == [
        "postBuild is a script in the repository. Install bubblewrap."
    ]
    assert problems(recipe(setup__py="x"), offer)
    assert problems(recipe(requirements__txt="cowsay"), offer) == []


def test_a_start_script_needs_no_sandbox_and_no_build():
    made, assessment = plan(recipe(start='#!/bin/sh\nexec "$@"\n'), replace(OFFER, runs_code=False))
    assert (made.start, assessment.findings) == ("start", ())
    assert reuse(recipe(start="#!/bin/sh\n"), OFFER).self_contained


def test_post_build_that_downloads_is_warned_of():
    findings = assess(recipe(postBuild="pip install x"), OFFER).findings
    assert [finding.code for finding in findings] == ["no_network"]


def test_refused_requirement_is_quoted():
    assert "“-e ../x”" in problems(recipe(requirements__txt="-e ../x"))[0]


def test_uv_is_given_the_index_that_pip_knows_and_nothing_else():
    own = {"PIP_INDEX_URL": "https://i.example/simple", "JUPYTERHUB_API_TOKEN": "secret"}
    given = uv_environment(own, ["UV_*"])
    assert given["UV_DEFAULT_INDEX"] == "https://i.example/simple"
    assert "secret" not in given.values()


def test_indexes_in_use_are_compared_without_credentials():
    environment = {
        "UV_DEFAULT_INDEX": "https://me:secret@i.example/simple/",
        "UV_INDEX": "mine=https://j.example/a=b other=https://k.example",
    }
    assert index_urls(environment) == [
        *("https://i.example/simple", "https://j.example/a=b", "https://k.example")
    ]


def test_untrusted_code_is_given_no_credentials():
    kept = without_secrets(
        {
            "UV_DEFAULT_INDEX": "https://me:secret@i.example/simple",
            "UV_INDEX_X_PASSWORD": "secret",
            "HTTPS_PROXY": "http://me:secret@p",
            "SSL_CERT_FILE": "/etc/ssl/x",
        }
    )
    assert kept == {"SSL_CERT_FILE": "/etc/ssl/x"}


def test_credentials_of_an_address_are_hidden():
    assert redact("from https://me:p@i.example/x") == "from https://****@i.example/x"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("Because there is no version of pipeline==9", False),
        ("Because pip-tools==9 depends on my-notebook", False),
        ("Because you require Notebook>=7,<8 and jinja2<3", True),
        ("jupyterlab==4.1 depends on tornado>=6", True),
    ],
)
def test_a_failure_names_the_servers_packages_only_by_their_whole_names(
    said: str, named: bool
) -> None:
    base = ["jupyterhub==5.3", "jupyterlab>=4,<5", "notebook>=7,<8", "pip"]
    assert names_any(["x", said], base) is named
    assert not names_any([said], [])


def test_a_persons_python_comes_before_the_repositorys() -> None:
    asked = recipe(runtime__txt="python-3.13")
    assert plan(with_python(asked, {"python": "3.9"}))[0].python == "3.9"
    assert plan(with_python(asked, {}))[0].python == "3.13"
