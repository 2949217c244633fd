"""The routes of the REST API v1, and where each is.

A route fetches, checks, calls, and answers; everything it decides is decided below.
"""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.web.api import admin, builds, environments, info, launches, oversight
from jupyterhub_binder.web.base import UnknownRoute
from jupyterhub_binder.web.metrics import MetricsHandler

Route = tuple[str, type[Any]]

ID = r"([0-9a-z]{1,40})"

ROUTES: tuple[Route, ...] = (
    (r"api/v1/", info.Info),
    (r"api/v1/openapi\.json", info.OpenAPI),
    (r"api/v1/resolve", info.Resolve),
    (r"api/v1/environments", environments.Environments),
    (rf"api/v1/environments/{ID}", environments.OneEnvironment),
    (rf"api/v1/environments/{ID}/restore", environments.Restore),
    (rf"api/v1/environments/{ID}/builds", environments.EnvironmentBuilds),
    (rf"api/v1/environments/{ID}/current", environments.Current),
    (rf"api/v1/environments/{ID}/launch-spec", environments.LaunchSpec),
    (rf"api/v1/environments/{ID}/launches", launches.EnvironmentLaunches),
    (rf"api/v1/environments/{ID}/stop", launches.StopServers),
    (rf"api/v1/builds/{ID}", builds.OneBuild),
    (rf"api/v1/builds/{ID}/events", builds.BuildEvents),
    (rf"api/v1/builds/{ID}/log", builds.BuildLog),
    (rf"api/v1/builds/{ID}/cancel", builds.CancelBuild),
    (rf"api/v1/launches/{ID}", launches.OneLaunch),
    (rf"api/v1/launches/{ID}/events", launches.LaunchEvents),
    (rf"api/v1/launches/{ID}/cancel", launches.CancelLaunch),
    (r"api/v1/servers", launches.Servers),
    (r"api/v1/admin/queue", admin.Queue),
    (r"api/v1/admin/backends", admin.Backends),
    (r"api/v1/admin/environments", admin.AllEnvironments),
    (r"api/v1/admin/use", admin.Use),
    (r"api/v1/admin/use\.csv", admin.UseCSV),
    (r"api/v1/admin/drain", admin.Drain),
    (r"api/v1/admin/rules", oversight.Rules),
    (rf"api/v1/admin/rules/{ID}", oversight.OneRule),
    (rf"api/v1/admin/rules/{ID}/cancel", oversight.RuleCancel),
    (r"api/v1/admin/limits", oversight.Limits),
    (r"api/v1/admin/audit", oversight.Audit),
    (r"api/v1/admin/audit\.jsonl", oversight.AuditLines),
    (r"metrics", MetricsHandler),
    (r"health", info.Health),
    (r"versions", info.Versions),
)
"""Patterns below the service's prefix."""

UNKNOWN: Route = (r"(?:api|health|metrics|versions)(?:/.*)?", UnknownRoute)
