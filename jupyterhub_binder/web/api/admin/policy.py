"""Routes for admins: rules, limits, and the audit log."""

from __future__ import annotations

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.launches.service import StoppedServers
from jupyterhub_binder.model import Build
from jupyterhub_binder.model.admin import Holder, LimitName, Rule, RuleKind
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler, cut_page
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_page
from jupyterhub_binder.web.api.render.admin import (
    audit_lines,
    render_audit,
    render_chosen,
    render_detection,
    render_limits,
    render_override,
    render_rule,
    render_stopped,
)
from jupyterhub_binder.web.api.shapes import PageJSON, PageQuery
from jupyterhub_binder.web.api.shapes.admin import (
    AuditEntryJSON,
    AuditPageQuery,
    AuditQuery,
    DetectionJSON,
    LimitOverrideJSON,
    LimitsBody,
    LimitsPageJSON,
    LimitsQuery,
    PersonLimitsJSON,
    RuleAddedJSON,
    RuleBody,
    RuleJSON,
    SearchQuery,
)


class _RulesBase(AdminAPIHandler):
    """Renders a rule with the builds that it matches."""

    async def render_added(
        self, rule: Rule, builds: tuple[Build, ...], servers: StoppedServers | None = None
    ) -> RuleAddedJSON:
        """Render the rule; builds that have ended count as cancelled."""
        return RuleAddedJSON(
            rule=render_rule(rule),
            builds=await self.render_builds(builds),
            cancelled=sum(build.state.finished for build in builds),
            servers=render_stopped(servers) if servers else None,
        )


class RulesHandler(_RulesBase):
    """Rules that ban or allow repositories, or ban people."""

    @operation("list_rules")
    async def get(self, *, query: SearchQuery) -> PageJSON[RuleJSON]:
        """For admins: list the rules on which repositories and people are banned or allowed."""
        search = query.search.casefold()
        found = [
            rule
            for rule in self.services.rules.all
            if search in f"{rule.pattern} {rule.reason}".casefold()
        ]
        return render_page(cut_page(found, query), render_rule)

    @operation("add_rule", needs_body=True)
    async def post(self, *, body: RuleBody) -> RuleAddedJSON:
        """For admins: ban or allow repositories, or ban a person.

        `builds` are the running and waiting builds that the rule matches; `cancel` cancels them,
        those of a banned person unless somebody else waits for them. A waiting build that the rule
        refuses never starts. `stop_servers` stops all servers of a banned person, for which the
        service's role needs the scope `delete:servers`; otherwise servers that run are not stopped.
        If the same pattern already has a rule of this kind, its reason is replaced.
        """
        if body.stop_servers and body.kind is not RuleKind.BAN_PERSON:
            raise InvalidInput(
                "'stop_servers' needs a ban of a person.", detail={"field": "stop_servers"}
            )
        rule = await self.services.rules.add(
            self.me, body.kind, body.pattern, body.reason, shows_reason=body.shows_reason
        )
        builds, servers = self.services.builds, None
        matched = builds.matched_by(rule)
        if body.cancel and rule.kind.bans:
            matched = await builds.cancel_matched(rule, user=self.me)
        if body.stop_servers:
            servers = await self.services.launches.stop_person(self.me, rule.pattern)
        return await self.render_added(rule, matched, servers)


class RuleHandler(AdminAPIHandler):
    """One rule."""

    @operation("remove_rule")
    async def delete(self, rule_id: str) -> RuleJSON:
        """For admins: remove a rule."""
        return render_rule(await self.services.rules.remove(self.me, rule_id))


class RuleCancelHandler(_RulesBase):
    """The builds that a rule matches."""

    @operation("cancel_rule_builds")
    async def post(self, rule_id: str) -> RuleAddedJSON:
        """For admins: cancel the builds that a rule matches."""
        rule = self.services.rules.get(rule_id)
        builds = await self.services.builds.cancel_matched(rule, user=self.me)
        return await self.render_added(rule, builds)


class DetectionsHandler(AdminAPIHandler):
    """The reports of a detector of forbidden programs."""

    @operation("list_detections")
    async def get(self, *, query: PageQuery) -> PageJSON[DetectionJSON]:
        """For admins: list the detector's reports that wait for a decision, newest first.

        A ban of the repository or the person decides a report, too.
        """
        found = await self.services.detections.list_open()
        return render_page(cut_page(found, query), render_detection)


class DetectionHandler(AdminAPIHandler):
    """A report of the detector."""

    @operation("dismiss_detection")
    async def delete(self, detection_id: str) -> DetectionJSON:
        """For admins: dismiss a report of the detector."""
        return render_detection(await self.services.detections.dismiss(self.me, detection_id))


class LimitsHandler(AdminAPIHandler):
    """The limits of groups and people, and the defaults."""

    @operation("list_limits")
    async def get(self, *, query: LimitsQuery) -> LimitsPageJSON:
        """For admins: list the default limits, and those of groups and people.

        With `person`, also list the limits that apply to this person and where each comes from.
        """
        limits = self.services.limits
        search = query.search.casefold()
        found = [each for each in limits.overrides if search in each.name.casefold()]
        page = render_page(cut_page(found, query), render_override)
        return LimitsPageJSON(
            items=page.items,
            total=page.total,
            offset=page.offset,
            limit=page.limit,
            defaults=render_limits(limits.defaults),
            person=self._person(query.person) if query.person else None,
        )

    def _person(self, name: str) -> PersonLimitsJSON:
        limits = self.services.limits
        chosen = {each: render_chosen(value) for each, value in limits.of(name).items()}
        return PersonLimitsJSON(name=name, groups=tuple(limits.groups_of(name)), limits=chosen)

    @operation("set_limits", needs_body=True)
    async def put(self, *, body: LimitsBody) -> LimitOverrideJSON:
        """For admins: set the limits of a person or a group.

        They replace the previous ones. A limit that is absent or null gets the default. A personal
        limit wins; otherwise the highest group limit applies; otherwise the default.
        """
        if (body.person is None) == (body.group is None):
            raise InvalidInput("Give either 'person' or 'group'.", detail={"field": "person"})
        holder = Holder.PERSON if body.person is not None else Holder.GROUP
        values = {name: getattr(body, name) for name in LimitName}
        override = await self.services.limits.set(
            self.me, holder, body.person or body.group or "", values
        )
        return render_override(override)


class AuditHandler(AdminAPIHandler):
    """The audit log."""

    @operation("list_audit")
    async def get(self, *, query: AuditPageQuery) -> PageJSON[AuditEntryJSON]:
        """For admins: list the audit log, newest first."""
        page = await self.services.audit.list(
            actor=query.person or None,
            action=query.action,
            offset=query.offset,
            limit=query.limit,
        )
        return render_page(page, render_audit)


class AuditLinesHandler(AdminAPIHandler):
    """The audit log as a file."""

    @operation("download_audit", media="application/jsonl")
    async def get(self, *, query: AuditQuery) -> None:
        """For admins: get the audit log as JSON Lines, oldest first."""
        self.set_header("Content-Type", "application/jsonl; charset=UTF-8")
        self.set_header("Content-Disposition", 'attachment; filename="audit.jsonl"')
        self.set_header("Cache-Control", "no-store")
        audit = self.services.audit
        async for entries in audit.read(actor=query.person or None, action=query.action):
            self.write(audit_lines(entries))
            await self.flush()
