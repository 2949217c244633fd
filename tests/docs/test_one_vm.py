"""The page from one VM to a hub: few commands, whose names and versions fit the values beside them."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.kit.chart import EXAMPLES, render
from tests.kit.docs import DOCS, ROOT, command_blocks

PAGE = (DOCS / "how-to" / "one-vm.md").read_text()
MAX_COMMANDS = 12
NAMESPACE = "jupyterhub"


def commands(text: str) -> list[str]:
    """Return the commands of a part of the page, each on one line, without what they read."""
    shown = "\n".join(block.text for block in command_blocks(text, "one-vm"))
    return re.findall(r"^\$ (.*)$", shown.replace("\\\n", " "), re.MULTILINE)


TO_A_LAUNCH = PAGE.partition("\n## 4.")[0]
ALL = commands(TO_A_LAUNCH)
# Each step ends with a check, which is not needed to go on.
NEEDED = [
    command
    for section in re.split(r"^## ", TO_A_LAUNCH, flags=re.MULTILINE)
    for command in commands(section.partition("\nCheck: ")[0])
]


def values_of(example: str) -> dict[str, Any]:
    return yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())


def test_a_launch_takes_few_commands() -> None:
    assert 8 < len(NEEDED) <= MAX_COMMANDS


def test_files_that_the_page_names_exist() -> None:
    named = set(re.findall(r"(?<![\w/])helm/[\w./-]+\w", PAGE))
    assert len(named) > 6
    assert [name for name in named if not (ROOT / name).exists()] == []
    for name in re.findall(r"\b99-\w+\.conf\b", PAGE):
        assert (EXAMPLES / "single-node-k3s" / name).exists()


def test_images_that_are_built_are_those_that_run() -> None:
    built = {tag for line in ALL for tag in re.findall(r"podman build .* -t (\S+)", line)}
    (imported,) = [line for line in NEEDED if "podman save" in line]
    assert imported.endswith("| k3s ctr images import -")
    assert set(re.findall(r"docker\.io/library/\S+", imported)) == built
    theirs = values_of("single-node-k3s.jupyterhub")
    chart = render(values_of("single-node-k3s"), namespace=NAMESPACE)
    run = {one["image"] for _, pod in chart.pods() for one in pod["spec"]["containers"]}
    for image in (theirs["hub"]["image"], theirs["singleuser"]["image"]):
        run.add(f"{image['name']}:{image['tag']}")
    assert built == {f"docker.io/library/{name}" for name in run}


def test_versions_of_the_hub_fit_together() -> None:
    zero = re.findall(r"k8s-hub:(\S+)|jupyterhub --repo \S+ +--version (\S+)", "\n".join(ALL))
    assert len(zero) == 2
    (chart_version,) = {one or other for one, other in zero}
    assert (
        f"--version {chart_version} " in (EXAMPLES / "single-node-k3s.jupyterhub.yaml").read_text()
    )
    (hub,) = re.findall(r"--build-arg JUPYTERHUB=(\S+)", TO_A_LAUNCH)
    packages = values_of("single-node-k3s")["config"]["VenvBackend"]["base_packages"]
    assert f"jupyterhub{hub}" in packages
    assert f"has JupyterHub {hub.removeprefix('==')}" in PAGE


def test_releases_of_helm_are_those_that_the_values_name() -> None:
    installed = [shlex.split(line) for line in NEEDED if line.startswith("helm upgrade")]
    assert [words[3] for words in installed] == ["binder", "jupyterhub"]
    assert all(words[words.index("--namespace") + 1] == NAMESPACE for words in installed)
    used = [
        words[at + 1] for words in installed for at, word in enumerate(words) if word == "--values"
    ]
    assert used == [
        "helm/examples/single-node-k3s.yaml",
        "helm/examples/single-node-k3s.jupyterhub.yaml",
        "site.yaml",
    ]


def test_site_values_complete_those_of_the_example() -> None:
    text = re.sub(r"\$\(openssl[^)]*\)", "12345678", PAGE.partition("<<END\n")[2])
    site = yaml.safe_load(text.partition("\nEND\n")[0])
    theirs = values_of("single-node-k3s.jupyterhub")
    # Passwords are texts even if all their characters are digits.
    passwords = site["hub"]["config"]["SharedPasswordAuthenticator"]
    assert set(map(type, passwords.values())) == {str}
    assert theirs["hub"]["config"]["JupyterHub"]["authenticator_class"] == "shared-password"
    assert theirs["proxy"]["https"] == {"enabled": True}
    assert site["proxy"]["https"]["hosts"] == ["hub.example.org"]


@pytest.mark.parametrize("name", ["config.yaml", "registries.yaml"])
def test_files_for_images_are_installed_where_k3s_reads_them(name: str) -> None:
    source = f"helm/examples/single-node-k3s/{name}"
    (line,) = [line for line in commands(PAGE) if source in line]
    assert line.split() == ["install", "-D", "-m", "644", source, f"/etc/rancher/k3s/{name}"]


def test_k3s_is_installed_and_upgraded_with_the_same_options() -> None:
    installers = [line for line in commands(PAGE) if "get.k3s.io" in line]
    assert len(installers) == 2
    assert {line.partition("sh -s - ")[2] for line in installers} == {"--disable=traefik"}
