"""The fake backend does what its script says."""

from __future__ import annotations

import asyncio
import time

import pytest

from jupyterhub_binder.backends.fake import HOSTILE_LINES, FakeBackend
from jupyterhub_binder.errors import BuildFailed, InvalidInput
from jupyterhub_binder.model import Phase, Recipe
from tests.kit.jobs import checkpoints, collect, collect_into, image_of, lines, make_job


def fake(**script):
    return make_job(options={"fake": script})


async def test_same_script_says_the_same_twice():
    job = fake(lines=7, ansi=True)
    assert await collect(FakeBackend(), job) == await collect(FakeBackend(), job)


async def test_lines_are_as_many_as_asked():
    outputs = await collect(FakeBackend(), fake(lines=20_000))
    assert len(lines(outputs)) == 20_001


async def test_progress_lines_are_provisional_but_the_last():
    said = lines(await collect(FakeBackend(), fake(lines=5, progress=True)))
    assert [line.endswith("\r") for line in said[:5]] == [True] * 4 + [False]


async def test_hostile_lines_come_as_they_are():
    assert tuple(lines(await collect(FakeBackend(), fake(hostile=True)))[:6]) == HOSTILE_LINES


@pytest.mark.parametrize("phase", ["building", "pushing"])
async def test_failure_at_a_phase_has_the_reason(phase):
    said = []
    with pytest.raises(BuildFailed, match="no space left"):
        await collect_into(said, FakeBackend(), fake(fail_at=phase, reason="no space left"))
    assert said[-1].phase == Phase(phase)


async def test_gate_holds_a_build_until_opened():
    backend = FakeBackend()
    work = asyncio.create_task(collect(backend, fake(gate="g")))
    await backend.gate("g").reached.wait()
    assert not work.done()
    backend.gate("g").open()
    assert image_of(await work).name.startswith("fake:")


async def test_gate_can_be_a_file_for_another_process(tmp_path):
    backend = FakeBackend(gates_dir=str(tmp_path))
    work = asyncio.create_task(collect(backend, fake(gate="g")))
    await backend.gate("g").reached.wait()
    (tmp_path / "g.open").touch()
    await work
    assert (tmp_path / "g.reached").exists()


async def test_images_are_found_after_a_restart(tmp_path):
    job = fake(image="registry/x:1")
    await collect(FakeBackend(images_dir=str(tmp_path)), job)
    later = FakeBackend(images_dir=str(tmp_path))
    assert await later.find_image(job.build.key) == "registry/x:1"
    await later.delete_image("registry/x:1")
    assert await later.find_image(job.build.key) is None


async def test_checkpoints_are_spread_over_the_lines():
    assert len(checkpoints(await collect(FakeBackend(), fake(lines=10, checkpoints=3)))) >= 3


async def test_words_in_a_repository_script_it():
    with pytest.raises(BuildFailed):
        await collect(FakeBackend(), make_job(repo="org/fake-fail"))
    await collect(FakeBackend(), make_job(repo="org/fake-failover"))


async def test_patterns_of_the_configuration_script_it():
    backend = FakeBackend(scripts={"*/broken@v1": {"fail_at": "building"}})
    with pytest.raises(BuildFailed):
        await collect(backend, make_job(repo="org/broken", ref="v1"))
    await collect(backend, make_job(repo="org/broken", ref="v2"))


async def test_speed_is_kept():
    begun = time.monotonic()
    await collect(FakeBackend(), fake(lines=5, lines_per_second=50.0))
    assert time.monotonic() - begun >= 0.1


async def test_unknown_field_is_named():
    with pytest.raises(InvalidInput, match="colour"):
        await collect(FakeBackend(), fake(colour=1))


async def test_problem_of_the_script_is_assessed():
    assessment = FakeBackend().assess(Recipe(), {"fake": {"problem": "no apt here"}})
    assert [finding.message for finding in assessment.problems] == ["no apt here"]
