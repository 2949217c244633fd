"""Schemathesis over the served description: what is allowed and what is not, to every route.

Whatever it sends, the answer is one that the description knows, and never a 5xx. It runs as a
program of its own against the service of this process, as somebody who builds and as an admin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.kit.git_server import GitRepo
from tests.kit.service import Person, wait_for_build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
OPTIONS = (
    *("--checks", ",".join(CHECKS), "--seed", "7", "--generation-deterministic", "--no-shrink"),
    *("--no-color", "--warnings", "off", "--request-timeout", "60", "--max-failures", "20"),
    *("--max-examples", "8"),
)
MAX_SECONDS = 600
"""A busy machine takes minutes for what costs a quiet one seconds."""


async def run_schemathesis(url: str, folder: Path, *options: str) -> None:
    """Run it over the served description. Raises AssertionError with what it found."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}api/v1/openapi.json"),
        *OPTIONS,
        *options,
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed.decode(errors="replace")


def write_settings(folder: Path, ids: dict[str, list[str]], url: str) -> None:
    """Let two of three requests be of things that there are, a third of links lead somewhere."""
    lines = [f"[dictionaries.{name}]\nvalues = {json.dumps(ids[name])}" for name in ids]
    lines += [f"[dictionaries.url]\nvalues = {json.dumps([url])}", "[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}' for name in ids]
    lines += ['"body.url" = { dictionary = "url", probability = 0.3 }']
    (folder / "schemathesis.toml").write_text("\n".join(lines))


@pytest.fixture
async def settings(person: Person, new_environment, git_repo: GitRepo, tmp_path: Path) -> Path:
    """A folder with settings that name an environment, its build, a launch and a rule."""
    made = await new_environment()
    await wait_for_build(person("ada"), made["latest"]["id"])
    launches = f"api/v1/environments/{made['id']}/launches"
    launch = await person("ada")("POST", launches, {"restart": True})
    rule = await person("root")("POST", "api/v1/admin/rules", {"pattern": "example.org/a"})
    ids = {
        "environment_id": [made["id"]],
        "build_id": [made["latest"]["id"]],
        "launch_id": [launch.json["id"]],
        "rule_id": [rule.json["rule"]["id"]],
    }
    write_settings(tmp_path, ids, git_repo.url)
    return tmp_path


# The admin comes last: what is banned and drained at random stays so.
@pytest.mark.parametrize("name", ["ada", pytest.param("root", marks=pytest.mark.thorough)])
async def test_nothing_that_is_sent_gets_an_answer_that_is_not_described(
    name: str, service_url: str, settings: Path
) -> None:
    await run_schemathesis(service_url, settings, "--header", f"Authorization: token {name}-token")
