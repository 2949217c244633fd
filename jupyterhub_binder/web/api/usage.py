"""Routes for the usage of the hub: for admins, and for everyone if the configuration says so."""

from __future__ import annotations

import json

from jupyterhub_binder.admin.usage_report import write_report
from jupyterhub_binder.admin.usage_tables import TABLE_NAMES, Providers, usage_table
from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.model.usage_summary import UsageSummary
from jupyterhub_binder.repositories.providers import registry
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.admin.base import send_download
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render.usage import render_usage, table_csv
from jupyterhub_binder.web.api.shapes.usage import UsageJSON, UsageQuery, UsageReportJSON
from jupyterhub_binder.web.handlers import APIHandler, BaseHandler


def provider_names(providers: registry.Providers) -> Providers:
    """Return the providers' names for people, by prefix."""
    return {provider.prefix: provider.display_name for provider in providers}


async def fetch_usage(handler: BaseHandler, query: UsageQuery) -> UsageSummary:
    """Return what the query selects, if the handler's user may see it."""
    reports = handler.services.usage_reports
    period = await reports.choose(query.period)
    return await reports.fetch(period, handler.user)


class UsageAccess(BaseHandler):
    """The check of the right to see usage."""

    signed_in_only = False

    async def prepare(self) -> None:
        """Refuse those who may not see it."""
        await super().prepare()
        reports = self.services.usage_reports
        if self.user is None and not reports.public:
            self.refuse_stranger()
        reports.require(self.user)


class UsageSummaryHandler(UsageAccess, APIHandler):
    """The usage of a period."""

    @operation("get_usage", errors=(400,))
    async def get(self, *, query: UsageQuery) -> UsageJSON:
        """Get the usage of a quarter or a year.

        For admins; for everyone, without a token, if `UsageReports.public` is True.
        """
        summary = await fetch_usage(self, query)
        return render_usage(summary, provider_names(self.services.providers))


class UsageReportHandler(UsageAccess, APIHandler):
    """A report as files."""

    @operation("get_usage_report", errors=(400,))
    async def get(self, *, query: UsageQuery) -> UsageReportJSON:
        """Get a report of a quarter or a year: Markdown, pictures and the numbers as JSON.

        For admins; for everyone, without a token, if `UsageReports.public` is True.
        """
        summary = await fetch_usage(self, query)
        names = provider_names(self.services.providers)
        numbers = json.dumps(to_json(render_usage(summary, names)), ensure_ascii=False, indent=2)
        files = {**write_report(summary, names), "report.json": f"{numbers}\n"}
        return UsageReportJSON(period=summary.period.name, files=files)


class UsageTableHandler(UsageAccess, APIHandler):
    """One table, for a spreadsheet."""

    @operation("download_usage", errors=(400,), media="text/csv")
    async def get(self, table: str, *, query: UsageQuery) -> None:
        """Get one table of the usage page as CSV.

        For admins; for everyone, without a token, if `UsageReports.public` is True.
        """
        if table not in TABLE_NAMES:
            raise NotFound(
                "There is no table of usage called “%(table)s”. The tables are %(known)s.",
                table=table,
                known=", ".join(TABLE_NAMES),
            )
        summary = await fetch_usage(self, query)
        found = usage_table(table, summary, provider_names(self.services.providers))
        name = f"{table}-{summary.period.name}.csv"
        send_download(self, table_csv(found), "text/csv", name)
