"""Routes for admins: rules, limits, and the audit log."""

from __future__ import annotations

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS, MOST_SEARCH_CHARACTERS
from jupyterhub_binder.model import Build
from jupyterhub_binder.oversight import Holder, LimitName, Rule, RuleKind
from jupyterhub_binder.rules import MOST_PATTERN_CHARACTERS, MOST_REASON_CHARACTERS
from jupyterhub_binder.web.adminquery import AuditQuery, read_limits
from jupyterhub_binder.web.adminrender import (
    audit_lines,
    render_audit,
    render_chosen,
    render_override,
    render_rule,
)
from jupyterhub_binder.web.api.admin import AdminHandler, page_of
from jupyterhub_binder.web.parse import Fields, json_object, query_text
from jupyterhub_binder.web.render import JSON, render_page


class _RuleHandler(AdminHandler):
    """A route that answers with a rule and the builds that it matches."""

    async def answer_rule(self, rule: Rule, builds: tuple[Build, ...]) -> None:
        """Answer; builds that have ended count as cancelled."""
        renderer = await self.renderer(builds)
        self.finish_json(
            {
                "rule": render_rule(rule),
                "builds": [renderer.build(build, user=self.me) for build in builds],
                "cancelled": sum(build.state.finished for build in builds),
            }
        )


class Rules(_RuleHandler):
    """Which repositories are banned, and which alone are allowed."""

    async def get(self) -> None:
        """Answer with a page of the rules."""
        search = query_text(self, "search", most=MOST_SEARCH_CHARACTERS).casefold()
        rules = self.services.command.rules.all
        found = tuple(
            rule for rule in rules if search in f"{rule.pattern} {rule.reason}".casefold()
        )
        self.finish_json(render_page(page_of(found, self), render_rule))

    async def post(self) -> None:
        """Add a rule, and end the builds that it matches if that is asked for."""
        fields = json_object(self.request, {"kind", "pattern", "reason", "cancel"})
        rule = await self.services.command.rules.add(
            self.me,
            fields.choice("kind", RuleKind) or RuleKind.BAN,
            fields.text("pattern", most=MOST_PATTERN_CHARACTERS, required=True) or "",
            fields.text("reason", most=MOST_REASON_CHARACTERS) or "",
        )
        builds = self.services.builds
        if fields.boolean("cancel", default=False) and rule.kind is RuleKind.BAN:
            await self.answer_rule(rule, await builds.cancel_matched(rule, user=self.me))
        else:
            await self.answer_rule(rule, builds.matched_by(rule))


class OneRule(AdminHandler):
    """One rule."""

    async def delete(self, rule_id: str) -> None:
        """Remove it."""
        rule = await self.services.command.rules.remove(self.me, rule_id)
        self.finish_json(render_rule(rule))


class RuleCancel(_RuleHandler):
    """The builds that a rule matches."""

    async def post(self, rule_id: str) -> None:
        """End them."""
        json_object(self.request, ())
        rule = self.services.command.rules.get(rule_id)
        builds = await self.services.builds.cancel_matched(rule, user=self.me)
        await self.answer_rule(rule, builds)


class Limits(AdminHandler):
    """How much everybody, groups and people may have."""

    async def get(self) -> None:
        """Answer with a page of those that differ, and with somebody's if asked for."""
        limits = self.services.command.limits
        search = query_text(self, "search", most=MOST_SEARCH_CHARACTERS).casefold()
        found = tuple(each for each in limits.overrides if search in each.name.casefold())
        person = query_text(self, "person", most=MOST_PERSON_CHARACTERS).strip()
        self.finish_json(
            {
                **render_page(page_of(found, self), render_override),
                "defaults": dict(limits.defaults),
                "person": self._person(person) if person else None,
            }
        )

    def _person(self, name: str) -> JSON:
        limits = self.services.command.limits
        return {
            "name": name,
            "groups": list(limits.groups_of(name)),
            "limits": render_chosen(limits.of(name)),
        }

    async def put(self) -> None:
        """Set those of a person or of a group."""
        fields = json_object(self.request, {*Holder, *LimitName})
        holder = _holder(fields)
        name = fields.text(holder, most=MOST_PERSON_CHARACTERS, required=True) or ""
        override = await self.services.command.limits.set(
            self.me, holder, name, read_limits(fields)
        )
        self.finish_json(render_override(override))


def _holder(fields: Fields) -> Holder:
    named = [holder for holder in Holder if holder in fields]
    if len(named) != 1:
        raise InvalidInput("Name either 'person' or 'group'.", detail={"field": "person"})
    return named[0]


class Audit(AdminHandler):
    """Who did what when."""

    async def get(self) -> None:
        """Answer with a page of it."""
        query = AuditQuery.read(self)
        offset, limit = self.cut()
        page = await self.services.command.audit.list(
            actor=query.person, action=query.action, offset=offset, limit=limit
        )
        self.finish_json(render_page(page, render_audit))


class AuditLines(AdminHandler):
    """The audit log as a file."""

    async def get(self) -> None:
        """Answer with all of it, a part at a time."""
        query = AuditQuery.read(self)
        self.set_header("Content-Type", "application/jsonl; charset=UTF-8")
        self.set_header("Content-Disposition", 'attachment; filename="audit.jsonl"')
        self.set_header("Cache-Control", "no-store")
        audit = self.services.command.audit
        async for entries in audit.read(actor=query.person, action=query.action):
            self.write(audit_lines(entries))
            await self.flush()
