"""What every backend does alike: one suite, run against each of them through `kit`."""

from __future__ import annotations

import asyncio

import pytest

from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Image, Line, Recipe
from tests.kit.backend_binderhub import BinderHubKit, FederationKit, LiveBinderHubKit
from tests.kit.backend_repo2docker import PodmanKit, Repo2DockerKit
from tests.kit.backends import KITS, Kit
from tests.kit.failing_logs import explain_outputs
from tests.kit.jobs import again, checkpoints, collect, collect_into, image_of, lines

ALL_KITS: dict[str, type[Kit]] = {
    **KITS,
    "repo2docker": Repo2DockerKit,
    "podman": PodmanKit,
    "binderhub": BinderHubKit,
    "federation": FederationKit,
    "binderhub-live": LiveBinderHubKit,
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[getattr(pytest.mark, mark) for mark in kit.marks])
        for name, kit in ALL_KITS.items()
    ]
)
async def kit(request, tmp_path):
    for fixture in ALL_KITS[request.param].fixtures:
        request.getfixturevalue(fixture)
    kit = ALL_KITS[request.param](tmp_path)
    await kit.backend.start()
    yield kit
    await kit.backend.stop()


async def first_line(kit: Kit, outputs) -> None:
    """Read until the job that hangs says its line."""
    async for output in outputs:
        if isinstance(output, Line) and ("started" in output.text or "Step 12" in output.text):
            return


async def test_build_says_lines_and_then_the_image(kit):
    outputs = await collect(kit.backend, kit.good())
    assert lines(outputs)
    assert [type(output) for output in outputs].count(Image) == 1
    assert image_of(outputs).size_bytes or not kit.tells_size


async def test_image_is_found_once_it_is_built(kit):
    job = kit.good()
    assert await kit.backend.find_image(job.build.key) is None
    image = image_of(await collect(kit.backend, job))
    assert await kit.backend.find_image(job.build.key) == image.name
    restarted = kit.make()
    await restarted.start()
    assert await restarted.find_image(job.build.key) == image.name
    await restarted.stop()


async def test_image_that_is_told_is_there_already(kit):
    job = kit.good()
    async for output in kit.backend.build(job):
        if isinstance(output, Image):
            assert await kit.backend.find_image(job.build.key) == output.name


async def test_no_line_holds_a_newline(kit):
    for text in lines(await collect(kit.backend, kit.good())):
        assert "\n" not in text


async def test_failure_can_be_explained_and_leaves_nothing(kit):
    job, said = kit.failing(), []
    with pytest.raises(BuildFailed) as failed:
        await collect_into(said, kit.backend, job)
    reason = explain_outputs(said, failed.value)
    assert "nosuchthing" in f"{reason.message} {reason.explanation.line}"
    assert lines(said)
    assert await kit.backend.find_image(job.build.key) is None
    assert kit.leftovers() == []


async def test_cancel_leaves_nothing(kit):
    job = kit.hanging()
    outputs = kit.backend.build(job)
    await first_line(kit, outputs)

    async def follow() -> None:  # more lines may have come together with the first
        async for _ in outputs:
            pass

    following = asyncio.ensure_future(follow())
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert await kit.backend.find_image(job.build.key) is None
    assert kit.leftovers() == []


async def test_close_leaves_nothing(kit):
    job = kit.hanging()
    outputs = kit.backend.build(job)
    await first_line(kit, outputs)
    await outputs.aclose()
    assert await kit.backend.find_image(job.build.key) is None
    assert kit.leftovers() == []


async def test_close_before_the_first_output_leaves_nothing(kit):
    outputs = kit.backend.build(kit.good())
    await anext(outputs)
    await outputs.aclose()
    assert kit.leftovers() == []


async def test_delete_twice_is_success(kit):
    job = kit.good()
    image = image_of(await collect(kit.backend, job))
    await kit.backend.delete_image(image.name)
    await kit.backend.delete_image(image.name)
    assert await kit.backend.find_image(job.build.key) is None
    assert kit.leftovers() == []


async def test_deleted_image_can_be_built_again(kit):
    job = kit.good()
    await kit.backend.delete_image(image_of(await collect(kit.backend, job)).name)
    image = image_of(await collect(kit.backend, job))
    assert await kit.backend.find_image(job.build.key) == image.name


async def test_image_that_is_there_can_be_built_again(kit):
    job = kit.good()
    assert image_of(await collect(kit.backend, job)) == image_of(await collect(kit.backend, job))
    assert kit.leftovers() == []


async def test_build_goes_on_from_any_checkpoint(kit):
    job = kit.good()
    for checkpoint in checkpoints(await collect(kit.backend, job)):
        image_of(await collect(kit.backend, again(job, checkpoint.data)))
    assert kit.leftovers() == []


async def test_two_builds_at_once_are_two_images(kit):
    one, other = kit.good(), kit.failing()
    results = await asyncio.gather(
        collect(kit.backend, one), collect(kit.backend, other), return_exceptions=True
    )
    assert image_of(results[0]).name
    assert isinstance(results[1], BuildFailed)
    assert kit.leftovers() == []


async def test_hostile_output_is_text(kit):
    for text in lines(await collect(kit.backend, kit.hostile())):
        text.encode()
        assert len(text) <= 20_000


async def test_fingerprint_is_the_same_after_a_restart(kit):
    assert kit.backend.fingerprint() == kit.make().fingerprint()


async def test_assessment_of_nothing_has_no_problem(kit):
    assert kit.backend.assess(Recipe(), {}).problems == ()


async def test_health_is_good(kit):
    assert await kit.backend.health() is None


async def test_stop_twice_and_without_start_is_success(kit):
    backend = kit.make()
    await backend.stop()
    await backend.stop()
