"""What the chart adds to BinderHub: refused strangers, a true /health, the last lines of a build."""

from __future__ import annotations

import logging
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tornado.web import HTTPError

from tests.chart.test_config import load_binderhub, variables
from tests.kit.chart import VALUES, render

SECRET = "BINDERHUB_BUILD_TOKEN_SECRET"


class Handler:
    """BinderHub's base of handlers, as far as it checks tokens: none is taken as well."""

    def check_build_token(self, build_token: str | None, provider_spec: str) -> str | None:
        return f"{build_token} of {provider_spec}" if build_token else None


class Health:
    """BinderHub's handler of /health, as far as it asks its hub."""

    async def check_jupyterhub_api(self, hub_url: str) -> bool:
        return hub_url.startswith("http://there")


class Progress:
    """BinderHub's words for what becomes of a build."""

    Kind = Enum("Kind", ["BUILD_STATUS_CHANGE", "LOG_MESSAGE"])
    BuildStatus = Enum("BuildStatus", ["PENDING", "RUNNING", "FAILED"])


class Executor:
    """BinderHub's maker of build pods, as far as it tells what becomes of them."""

    name = "build-pod"
    log = logging.getLogger("binderhub")

    def __init__(self, lines: list[str] | None) -> None:
        self.lines = lines
        self.told: list[Any] = []

    def progress(self, kind: Any, payload: Any) -> None:
        self.told.append(payload)

    def stream_logs(self) -> None:
        if self.lines is None:
            raise OSError("there is no such pod")
        for line in self.lines:
            self.progress(Progress.Kind.LOG_MESSAGE, line)


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> type[Handler]:
    base = ModuleType("binderhub.base")
    base.BaseHandler = type("BaseHandler", (Handler,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "binderhub", ModuleType("binderhub"))
    monkeypatch.setitem(sys.modules, "binderhub.base", base)
    health = ModuleType("binderhub.health")
    health.HealthHandler = type("HealthHandler", (Health,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "binderhub.health", health)
    build = ModuleType("binderhub.build")
    build.KubernetesBuildExecutor = type("KubernetesBuildExecutor", (Executor,), {})  # type: ignore[attr-defined]
    build.ProgressEvent = Progress  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "binderhub.build", build)
    monkeypatch.setenv(SECRET, "ab" * 32)
    return base.BaseHandler  # type: ignore[attr-defined]


def test_a_build_without_a_token_is_refused(handler: type[Handler], tmp_path: Path) -> None:
    rendered = render(VALUES["everything"])
    assert SECRET in variables(rendered, "binderhub")
    load_binderhub(rendered, tmp_path)
    for none in (None, ""):
        with pytest.raises(HTTPError) as caught:
            handler().check_build_token(none, "gh/org/name/HEAD")
        assert caught.value.status_code == 403
    assert handler().check_build_token("t", "gh/org/name/HEAD") == "t of gh/org/name/HEAD"


def test_a_binderhub_that_checks_no_tokens_does_not_start(
    handler: type[Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["binderhub.base"], "BaseHandler", object)
    with pytest.raises(AttributeError, match="check_build_token"):
        load_binderhub(render(VALUES["everything"]), tmp_path)


async def test_health_asks_only_a_hub_that_there_is(handler: type[Handler], tmp_path: Path) -> None:
    load_binderhub(render(VALUES["everything"]), tmp_path)
    health = sys.modules["binderhub.health"].HealthHandler()
    assert await health.check_jupyterhub_api("") is True
    assert await health.check_jupyterhub_api("http://there/") is True
    assert await health.check_jupyterhub_api("http://away/") is False


@pytest.mark.parametrize(
    ("lines", "statuses", "told"),
    [
        (["no space left"], ["PENDING", "FAILED"], ["PENDING", "no space left", "FAILED"]),
        (["seen"], ["RUNNING", "FAILED"], ["RUNNING", "FAILED"]),
        (None, ["FAILED"], ["FAILED"]),
    ],
    ids=["died at once", "its log is followed already", "it is gone"],
)
def test_build_pod_that_dies_at_once_leaves_its_last_lines(
    handler: type[Handler],
    tmp_path: Path,
    lines: list[str] | None,
    statuses: list[str],
    told: list[str],
) -> None:
    load_binderhub(render(VALUES["everything"]), tmp_path)
    executor = sys.modules["binderhub.build"].KubernetesBuildExecutor(lines)
    for status in statuses:
        executor.progress(Progress.Kind.BUILD_STATUS_CHANGE, Progress.BuildStatus[status])
    assert [getattr(each, "name", each) for each in executor.told] == told
