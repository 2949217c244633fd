"""What following costs: a thousand followers of one repository, and a look at a page of them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.figures import show
from jupyterhub_binder.model import User
from tests.kit.parts import open_service
from tests.kit.upstream import follow

FOLLOWERS = 1000
LOOKS = 20


async def measure() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        service = await open_service(Path(folder))
        following = follow(service)
        try:
            first = await following.built(User("person-0"))
            others = [await service.create(User(f"person-{n}")) for n in range(1, FOLLOWERS)]
            environments = [first, *others]
            following.host.push()
            before = following.host.asked.total()
            for environment in environments:
                await following.upstreams.look([environment])
            await following.upstreams.asked()
            asked = following.host.asked.total() - before
            began = time.perf_counter()
            for _ in range(LOOKS):
                await following.upstreams.look(environments[:50])
            look_ms = (time.perf_counter() - began) / LOOKS * 1000
        finally:
            await following.updates.stop()
            await following.upstreams.stop()
            await service.stop()
    show("questions_for_1000_followers", asked, "questions", goal="1")
    show("upstream_of_50_environments_ms", look_ms, "ms", goal="< 10", digits=1)
