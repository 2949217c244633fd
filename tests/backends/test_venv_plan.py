"""What the venv backend makes of configuration files, before anything is built."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jupyterhub_binder.backends.venv_plan import Offer, assess, choose_python, make_plan
from jupyterhub_binder.backends.venv_uv import explain, redact, uv_environment, without_secrets
from jupyterhub_binder.model import Recipe, RecipeFile

OFFER = Offer(pythons={"3.9": "a", "3.11": "b", "3.13": "c"}, default_python="3.11", runs_code=True)


def recipe(python: str = "", **files: str) -> Recipe:
    named = {name.replace("__", "."): text for name, text in files.items()}
    return Recipe(
        python=python,
        files=tuple(RecipeFile(name, name, used=True, text=text) for name, text in named.items()),
    )


def plan(given: Recipe, offer: Offer = OFFER):
    return make_plan(given, offer, load=lambda _: None)


def problems(given: Recipe, offer: Offer = OFFER) -> list[str]:
    return [problem.message for problem in assess(given, offer).problems]


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


def test_missing_python_names_those_there_are():
    assert "3.9, 3.11, 3.13" in problems(recipe(python="3.7"))[0]


@pytest.mark.parametrize("kind", ["apt.txt", "install.R", "Project.toml", "default.nix",
                                  "Dockerfile", "Pipfile"])  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(kind):
    given = recipe(**{kind.replace(".", "__"): "x"})
    assert problems(given)[0].startswith(f"{kind}: ")
    assert not assess(given, OFFER).actions[0].supported


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


def test_environment_of_pip_packages_is_served():
    given = recipe(environment__yml="dependencies: [python=3.11, pip, {pip: [cowsay]}]")
    assert problems(given) == []
    assert assess(given, OFFER).actions[0].action == "Installs one package"


@pytest.mark.parametrize("text", ["[", "a: *b", "- x", "dependencies: 3", "\0"])
def test_environment_that_is_none_is_a_problem(text):
    assert problems(recipe(environment__yml=text))[0].startswith("environment.yml: ")


def test_post_build_without_a_sandbox_is_refused_with_what_to_do():
    offer = replace(OFFER, runs_code=False, why_not="Install bubblewrap.")
    assert problems(recipe(postBuild="x"), offer) == [
        "postBuild is a program of the repository. Install bubblewrap."
    ]
    assert problems(recipe(setup__py="x"), offer)
    assert problems(recipe(requirements__txt="cowsay"), offer) == []


def test_post_build_that_downloads_is_warned_of():
    findings = assess(recipe(postBuild="pip install x"), OFFER).findings
    assert [finding.code for finding in findings] == ["no_network"]


def test_refused_requirement_is_quoted():
    assert "“-r ../x”" in problems(recipe(requirements__txt="-r ../x"))[0]


@pytest.mark.parametrize(
    "lines",
    [
        [
            "error: No solution found when resolving dependencies",
            "  cause: Because x==1 has no usable wheels and you require x==1, we can conclude that"
            " your requirements are unsatisfiable.",
            "",
            "hint: Wheels are required for `x`",
        ],
        [
            "  \u00d7 No solution found when resolving dependencies:",
            "  ╰─▶ Because x==1 has no usable wheels and you require x==1,",
            "      we can conclude that your requirements are unsatisfiable.",
        ],
    ],
)
def test_complaint_of_uv_becomes_a_sentence(lines):
    assert explain(lines).startswith("x==1 has no usable wheels and you require x==1")
    assert "\u00d7" not in explain(lines)
    assert "hint" not in explain(lines)


def test_endless_complaint_is_cut():
    assert len(explain(["error: " + "word " * 5000])) < 1000


def test_uv_is_given_the_index_that_pip_knows_and_nothing_else(tmp_path):
    own = {"PIP_INDEX_URL": "https://i.example/simple", "JUPYTERHUB_API_TOKEN": "secret"}
    given = uv_environment(own, ["UV_*"], cache=tmp_path)
    assert given["UV_DEFAULT_INDEX"] == "https://i.example/simple"
    assert "secret" not in given.values()


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


def test_few_lines_of_yaml_do_not_become_gigabytes():
    text, before = 'a: &a ["lol", "lol"]\n', "a"
    for name in "bcdefghijk":
        text += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        before = name
    text += f"dependencies:\n - pip:\n   - *{before}\n"
    assert "aliases" in problems(recipe(environment__yml=text))[0]


@pytest.mark.parametrize("text", ["x: " + "[" * 50_000, "#" * 200_000, "? [a]\n: b\n"])
def test_yaml_that_is_no_environment_is_refused(text):
    assert problems(recipe(environment__yml=text))[0].startswith("environment.yml: ")


def test_half_a_character_is_no_yaml():
    text = 'dependencies: ["num\\uD800py"]'
    assert problems(recipe(**{"environment.yml": text})) == [
        "environment.yml: it is not YAML (half a character)."
    ]
