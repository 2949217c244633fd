"""Reports of launches to those who listen through jupyter-events."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest
from traitlets.config import Config

from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.launches.reports import LaunchReports
from jupyterhub_binder.model.launch_events import LaunchEvent, LaunchOrigin
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from tests.kit.waiting import until

EVENT = LaunchEvent(
    launch_id="1",
    time=datetime(2026, 8, 5, 12, 34, 56, tzinfo=UTC),
    provider="gh",
    spec="org/repo/main",
    resolved_ref="0" * 40,
    clone_url="https://github.com/org/repo",
    repo_url="https://github.com/org/repo",
    origin=LaunchOrigin("hub.example.org", ""),
)


class Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(json.loads(self.format(record)))


def make_reports(listener: Listener, answer: bool | None) -> LaunchReports:
    async def is_public(event: LaunchEvent) -> bool:
        if answer is None:
            raise UpstreamUnavailable("The host does not answer.")
        return answer

    config = Config()
    config.EventLogger.handlers = [listener]
    return LaunchReports(
        config=config, providers=Providers(git=Git()), is_public=is_public, keeps=False
    )


async def test_a_public_launch_is_sent_with_its_own_time() -> None:
    listener = Listener()
    reports = make_reports(listener, answer=True)
    reports.tell(EVENT)
    await until(lambda: listener.heard)
    assert listener.heard == [
        {
            "__timestamp__": "2026-08-05T12:34:56Z",
            "__schema__": "https://binderhub.jupyter.org/launch",
            "__schema_version__": "6",
            "__metadata_version__": 1,
            "provider": "GitHub",
            "spec": "org/repo/main",
            "ref": "0" * 40,
            "status": "success",
            "build_token": False,
            "origin": "hub.example.org",
            "request_origin": "",
        }
    ]


@pytest.mark.parametrize("answer", [False, None])
async def test_a_launch_of_a_repository_that_may_be_private_is_not_sent(
    answer: bool | None,
) -> None:
    listener = Listener()
    reports = make_reports(listener, answer)
    reports.tell(EVENT)
    await until(lambda: not len(reports._tasks))
    assert listener.heard == []
