"""The BinderHub beside the service builds for who knows its secret, and for nobody else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tornado.web import HTTPError

from tests.chart.kit import VALUES, render
from tests.chart.test_config import load_binderhub, variables

SECRET = "BINDERHUB_BUILD_TOKEN_SECRET"


class Handler:
    """BinderHub's base of handlers, as far as it checks tokens: none is taken as well."""

    def check_build_token(self, build_token: str | None, provider_spec: str) -> str | None:
        return f"{build_token} of {provider_spec}" if build_token else None


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> type[Handler]:
    base = ModuleType("binderhub.base")
    base.BaseHandler = type("BaseHandler", (Handler,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "binderhub", ModuleType("binderhub"))
    monkeypatch.setitem(sys.modules, "binderhub.base", base)
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
