"""The service may be killed at any moment: no line that was seen is lost, nothing ends wrongly."""

import random
import subprocess
import sys
from collections import defaultdict

import pytest

from jupyterhub_binder.model import BuildState
from jupyterhub_binder.store import Store
from tests.kit.databases import Databases

BUILDS, LINES = 4, 400


def _run_and_kill_after(folder, seen_lines):
    """Run the service until it has shown so many lines, kill it; return all it has shown."""
    command = [sys.executable, "-m", "tests.kit.killed_service", folder, Databases.url_for(folder)]
    command += [str(BUILDS), str(LINES)]
    shown = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.endswith("\n"):  # a kill may cut the last one
                shown.append(line.removesuffix("\n"))
            if seen_lines is not None and len(shown) >= seen_lines:
                process.kill()
        process.wait()
    return shown, process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_a_kill_at_any_moment_loses_nothing_and_ends_nothing_wrongly(tmp_path, seed):
    moments = random.Random(seed)
    seen = defaultdict(dict)
    for _ in range(2):
        shown, _ = _run_and_kill_after(tmp_path, moments.randrange(BUILDS * LINES // 2))
        _remember(seen, shown)
    shown, status = _run_and_kill_after(tmp_path, None)
    _remember(seen, shown)
    assert (status, shown[-1]) == (0, "done")

    store = await Store.open(Databases.url_for(tmp_path))
    try:
        environments = (await store.list_environments(owner="alice")).items
        assert len(environments) == BUILDS
        for environment in environments:
            build = environment.latest.build
            assert build.state is BuildState.BUILT
            assert environment.current.build.id == build.id
            log = {e.seq: e.message for e in await store.fetch_events(build.id, limit=100_000)}
            assert list(log) == list(range(1, build.lines + 1))
            assert seen[build.id].items() <= log.items()
        assert await store.list_active_builds() == ()
    finally:
        await store.close()
    assert not list((tmp_path / "images").glob("*.partial"))
    assert [path.name for path in (tmp_path / "work").iterdir()] == [".deleted"]


def _remember(seen, shown):
    for line in shown:
        if line == "done":
            continue
        build_id, seq, message = line.split(" ", 2)
        known = seen[build_id].setdefault(int(seq), message)
        assert known == message, "a line changed after it was seen"
