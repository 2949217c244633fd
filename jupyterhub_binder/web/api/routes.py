"""The URL patterns of the REST API v1.

Handlers check the request, call the layers below and render the answer.
"""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.web.api import (
    builds,
    environments,
    featured,
    history,
    hooks,
    launches,
    preferences,
    service,
    sharing,
    upstream,
    usage,
)
from jupyterhub_binder.web.api.admin import alerts, failures, overview, policy, use
from jupyterhub_binder.web.api.admin import builds as admin_builds
from jupyterhub_binder.web.handlers import UnknownRoute
from jupyterhub_binder.web.metrics.endpoint import MetricsHandler

Route = tuple[str, type[Any]]

ID = r"([0-9a-z]{1,40})"

ROUTES: tuple[Route, ...] = (
    (r"api/v1/", service.InfoHandler),
    (r"api/v1/openapi\.json", service.OpenAPIHandler),
    (r"api/v1/resolve", service.ResolveHandler),
    (r"api/v1/environments", environments.EnvironmentsHandler),
    (rf"api/v1/environments/{ID}", environments.EnvironmentHandler),
    (rf"api/v1/environments/{ID}/restore", environments.RestoreHandler),
    (rf"api/v1/environments/{ID}/builds", environments.EnvironmentBuildsHandler),
    (rf"api/v1/environments/{ID}/current", environments.CurrentBuildHandler),
    (rf"api/v1/environments/{ID}/preferences", preferences.PreferenceHandler),
    (rf"api/v1/environments/{ID}/files", preferences.FilesHandler),
    (rf"api/v1/environments/{ID}/changes", history.ChangesHandler),
    (rf"api/v1/environments/{ID}/upstream", upstream.UpstreamHandler),
    (rf"api/v1/environments/{ID}/prebuild", hooks.PrebuildHandler),
    (rf"api/v1/environments/{ID}/schedule", hooks.ScheduleHandler),
    (rf"api/v1/environments/{ID}/hooks", hooks.HooksHandler),
    (rf"api/v1/environments/{ID}/hooks/{ID}", hooks.OneHookHandler),
    (rf"api/v1/environments/{ID}/hooks/{ID}/secret", hooks.SecretHandler),
    (rf"api/v1/environments/{ID}/hooks/{ID}/token", hooks.TokenHandler),
    (rf"api/v1/environments/{ID}/launch-spec", environments.LaunchSpecHandler),
    (rf"api/v1/environments/{ID}/launches", launches.EnvironmentLaunchesHandler),
    (rf"api/v1/environments/{ID}/stop", launches.StopServersHandler),
    (rf"api/v1/environments/{ID}/shares", sharing.SharesHandler),
    (rf"api/v1/environments/{ID}/copy", sharing.CopyHandler),
    (rf"api/v1/environments/{ID}/transfer", sharing.TransferHandler),
    (rf"api/v1/environments/{ID}/transfer/accept", sharing.AcceptHandler),
    (r"api/v1/transfers", sharing.OffersHandler),
    (r"api/v1/featured", featured.GalleryHandler),
    (rf"api/v1/environments/{ID}/picture", featured.PictureHandler),
    (rf"api/v1/builds/{ID}", builds.BuildHandler),
    (rf"api/v1/builds/{ID}/events", builds.BuildEventsHandler),
    (rf"api/v1/builds/{ID}/log", builds.BuildLogHandler),
    (rf"api/v1/builds/{ID}/cancel", builds.CancelBuildHandler),
    (rf"api/v1/builds/{ID}/packages", history.PackagesHandler),
    (rf"api/v1/builds/{ID}/packages\.csv", history.PackagesCSVHandler),
    (rf"api/v1/builds/{ID}/difference", history.DifferenceHandler),
    (rf"api/v1/builds/{ID}/receipt", history.ReceiptHandler),
    (r"api/v1/receipt-key", history.ReceiptKeyHandler),
    (r"api/v1/receipts", history.ReceiptsHandler),
    (r"api/v1/receipts/check", history.ReceiptCheckHandler),
    (rf"api/v1/launches/{ID}", launches.LaunchHandler),
    (rf"api/v1/launches/{ID}/events", launches.LaunchEventsHandler),
    (rf"api/v1/launches/{ID}/cancel", launches.CancelLaunchHandler),
    (r"api/v1/servers", launches.ServersHandler),
    (r"api/v1/usage", usage.UsageSummaryHandler),
    (r"api/v1/usage/report", usage.UsageReportHandler),
    (rf"api/v1/usage/{ID}\.csv", usage.UsageTableHandler),
    (r"api/v1/admin/overview", overview.OverviewHandler),
    (r"api/v1/admin/queue", admin_builds.QueueHandler),
    (r"api/v1/admin/builds", admin_builds.AllBuildsHandler),
    (r"api/v1/admin/backends", admin_builds.BackendsHandler),
    (r"api/v1/admin/environments", use.AllEnvironmentsHandler),
    (r"api/v1/admin/featured", featured.AllFeaturedHandler),
    (rf"api/v1/admin/featured/{ID}", featured.FeatureHandler),
    (r"api/v1/admin/failures", failures.FailuresHandler),
    (r"api/v1/admin/use", use.UsageHandler),
    (r"api/v1/admin/use\.csv", use.UsageCSVHandler),
    (r"api/v1/admin/drain", admin_builds.DrainHandler),
    (r"api/v1/admin/rules", policy.RulesHandler),
    (rf"api/v1/admin/rules/{ID}", policy.RuleHandler),
    (rf"api/v1/admin/rules/{ID}/cancel", policy.RuleCancelHandler),
    (r"api/v1/admin/detections", policy.DetectionsHandler),
    (rf"api/v1/admin/detections/{ID}", policy.DetectionHandler),
    (r"api/v1/admin/limits", policy.LimitsHandler),
    (r"api/v1/admin/alerts", alerts.AlertsHandler),
    (r"api/v1/admin/alerts/test", alerts.AlertTestHandler),
    (r"api/v1/admin/audit", policy.AuditHandler),
    (r"api/v1/admin/audit\.jsonl", policy.AuditLinesHandler),
    (r"metrics", MetricsHandler),
    (r"health", service.HealthHandler),
    (r"versions", service.VersionsHandler),
)
"""Patterns below the service's prefix."""

UNKNOWN: Route = (r"(?:api|health|metrics|versions)(?:/.*)?", UnknownRoute)
