"""The dashboard and the alerts name metrics and labels that the service has, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from jupyterhub_binder.app import JupyterHubBinder
from tests.kit.service import Person
from tests.web.api.test_admin import HOST

ROOT = Path(__file__).parents[3]
FILES = ROOT / "helm" / "jupyterhub-binder" / "files"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
ALERTS = yaml.safe_load((FILES / "alerts.yaml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
FROM_SCRAPE = {"job", "instance"}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each expression, with what Grafana puts in the place of its variables."""
    for panel in PANELS:
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
            yield panel["title"], expr
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)


def selectors(node: Any) -> Iterator[Any]:
    """Yield all selectors of an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        child = getattr(node, name, None)
        for each in child if isinstance(child, list) else [child]:
            if each is not None:
                yield from selectors(each)


@pytest.fixture
async def series(
    person: Person, service: JupyterHubBinder, monkeypatch: pytest.MonkeyPatch
) -> dict[str, set[str]]:
    """Return the labels of every series that the service has."""
    monkeypatch.setattr(service.parts.backend, "statuses", lambda: (HOST,))
    text = (await person("root")("GET", "metrics")).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        if family.type == "counter":  # one without values yet has its labels still
            found.setdefault(f"{family.name}_total", {"reason", "code"})
    return found


async def test_every_expression_names_metrics_and_labels_that_there_are(series) -> None:
    seen = set()
    for title, expr in expressions():
        found = list(selectors(promql_parser.parse(expr)))
        assert found, f"{title}: {expr} asks for nothing"
        for selector in found:
            assert selector.name in series, f"{title}: there is no {selector.name}"
            labels = {matcher.name for matcher in selector.matchers.matchers}
            labels |= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expr))))
            assert labels <= series[selector.name] | FROM_SCRAPE | {"le"}, f"{title}: {labels}"
            seen.add(selector.name)
    ours = {name for name in series if name.startswith("jupyterhub_binder_")}
    assert _families(ours) == _families(seen) - {
        "process_resident_memory_bytes",
        "process_cpu_seconds",
    }


def _families(names: set[str]) -> set[str]:
    """Return the metrics that series belong to."""
    return {re.sub(r"_(bucket|count|created|sum|total)$", "", name) for name in names}


def test_every_panel_says_what_it_is_and_in_which_unit() -> None:
    assert DASHBOARD["uid"] == "jupyterhub-binder"
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Queue", "Builds", "Launches", "Backends", "Database", "Service"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used <= names


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} <= rule["annotations"].keys()


@pytest.mark.parametrize(
    ("alert", "metric"),
    [
        ("BinderAbsent", "info"),
        ("BinderTokenRefused", "part_up"),
        ("BinderHostDown", "host_up"),
        ("BinderLaunchesFailing", "launch_seconds_count"),
        ("BinderLaunchesSlow", "launch_seconds_bucket"),
        ("BinderDrainForgotten", "draining"),
    ],
)
def test_what_people_notice_first_has_an_alert(alert: str, metric: str) -> None:
    [rule] = [rule for rule in RULES if rule["alert"] == alert]
    asked = {each.name for each in selectors(promql_parser.parse(rule["expr"]))}
    assert f"jupyterhub_binder_{metric}" in asked
