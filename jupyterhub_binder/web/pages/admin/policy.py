"""The tabs for rules and limits."""

from __future__ import annotations

from jupyterhub_binder.admin import columns
from jupyterhub_binder.admin.rules import MAX_PATTERN_CHARACTERS, MAX_REASON_CHARACTERS
from jupyterhub_binder.errors import BinderError, HubError, InvalidInput, NotFound
from jupyterhub_binder.model import Build
from jupyterhub_binder.model.admin import Holder, LimitName, LimitOverride, Rule, RuleKind
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS, MAX_SEARCH_CHARACTERS
from jupyterhub_binder.web.api.parse import Fields, query_choice, query_text, whole_number
from jupyterhub_binder.web.pages.admin.base import AdminPage, address, part
from jupyterhub_binder.web.pages.views import Pill

_RULE_PILLS = {
    RuleKind.BAN: Pill("bad", Message("Banned")),
    RuleKind.BAN_PERSON: Pill("bad", Message("Person banned")),
    RuleKind.ALLOW: Pill("good", Message("Allowed")),
}
_LIMIT_TITLES = {LimitName(column.name): column.title for column in columns.LIMITS}


class RulesPage(AdminPage):
    """``/admin/rules``."""

    async def get(self) -> None:
        """Show the rules, and builds that a new rule matches."""
        search = query_text(self, "search", max_length=MAX_SEARCH_CHARACTERS)
        pattern = query_text(self, "pattern", max_length=MAX_PATTERN_CHARACTERS)
        rules = self.services.rules.all
        wanted = search.casefold()
        found = [rule for rule in rules if wanted in f"{rule.pattern} {rule.reason}".casefold()]
        added, matched = self._added()
        running, unknown = await self._fetch_running(added)
        self.render_tab(
            "rules",
            search=search,
            pattern=pattern,
            pills=_RULE_PILLS,
            added=added,
            matched=matched,
            whole_host=added is not None and self.services.rules.means_other_host(added),
            running=running,
            unknown=unknown,
            stopped=whole_number(query_text(self, "stopped", max_length=5) or "0", "stopped"),
            reports=await self.services.detections.list_open(),
            any_allowed=any(rule.kind is RuleKind.ALLOW for rule in rules),
            **self.pager(part(found, self.offset), search=search),
        )

    def _added(self) -> tuple[Rule | None, tuple[Build, ...]]:
        """Return the new rule and the builds that it matches."""
        try:
            rule = self.services.rules.get(query_text(self, "added", max_length=40))
        except NotFound:
            return None, ()
        return rule, self.services.builds.matched_by(rule) if rule.kind.bans else ()

    async def _fetch_running(self, added: Rule | None) -> tuple[int | None, Message | None]:
        """Return how many servers a banned person has, None if that is not known.

        Also return what is wrong with a name that the hub doesn't know.
        """
        if added is None or added.kind is not RuleKind.BAN_PERSON:
            return None, None
        try:
            return len(await self.services.launches.list_running(added.pattern)), None
        except NotFound as error:
            return None, error.message
        except BinderError:
            return None, None

    async def post(self) -> None:
        """Add a rule. The menu of a build or a launch sends a field for each kind."""
        self.back = f"{self.prefix}admin/rules"
        kind = self.form.choice("kind", RuleKind) or RuleKind.BAN
        field = kind if kind in self.form else "pattern"
        rule = await self.services.rules.add(
            self.me,
            kind,
            self.form.text(field, max_length=MAX_PATTERN_CHARACTERS, required=True) or "",
            self.form.text("reason", max_length=MAX_REASON_CHARACTERS) or "",
            shows_reason=self.form.text("shows_reason", max_length=5) == "1",
        )
        if rule.kind.bans and self.form.text("cancel", max_length=5) == "1":
            await self.services.builds.cancel_matched(rule, user=self.me)
        stopped = 0
        if kind is RuleKind.BAN_PERSON and self.form.text("stop", max_length=5) == "1":
            found = await self.services.launches.stop_person(self.me, rule.pattern)
            stopped = len(found.stopped)
        self.redirect(f"{self.back}{address(added=rule.id, stopped=stopped)}", status=303)


class RuleAction(AdminPage):
    """``POST /admin/rules/<id>/remove``, ``…/cancel`` for matching builds, ``…/stop`` for servers."""

    async def post(self, rule_id: str, action: str) -> None:
        """Remove the rule, cancel the builds, or stop the servers."""
        self.back = f"{self.prefix}admin/rules"
        rules = self.services.rules
        query = ""
        if action == "remove":
            await rules.remove(self.me, rule_id)
        elif action == "stop":
            query = address(added=rule_id, stopped=await self._stop(rules.get(rule_id)))
        else:
            await self.services.builds.cancel_matched(rules.get(rule_id), user=self.me)
        self.redirect(f"{self.back}{query}", status=303)

    async def _stop(self, rule: Rule) -> int:
        if rule.kind is not RuleKind.BAN_PERSON:
            raise NotFound("This rule bans no person.")
        stopped = await self.services.launches.stop_person(self.me, rule.pattern)
        if stopped.problem:
            raise HubError(stopped.problem)
        return len(stopped.stopped)


class ReportAction(AdminPage):
    """``POST /admin/reports/<id>/dismiss``."""

    async def post(self, report_id: str) -> None:
        """Dismiss a report of the detector."""
        self.back = f"{self.prefix}admin/rules"
        await self.services.detections.dismiss(self.me, report_id)
        self.redirect(self.back, status=303)


class LimitsPage(AdminPage):
    """``/admin/limits``."""

    async def get(self) -> None:
        """Show limits that differ from the default, and one person's or group's."""
        limits = self.services.limits
        search = query_text(self, "search", max_length=MAX_SEARCH_CHARACTERS)
        found = [each for each in limits.overrides if search.casefold() in each.name.casefold()]
        holder = Holder(query_choice(self, "holder", tuple(Holder)))
        name = query_text(self, "name", max_length=MAX_PERSON_CHARACTERS).strip()
        shown = name and holder is Holder.PERSON
        self.render_tab(
            "limits",
            search=search,
            words=_LIMIT_TITLES,
            defaults=limits.defaults,
            new_people=limits.new_people,
            new_people_hours=limits.new_people_hours,
            holder=holder,
            who=name,
            own=_find(limits.overrides, holder, name),
            chosen=limits.of(name) if shown else {},
            groups=limits.groups_of(name) if shown else (),
            **self.pager(part(found, self.offset), search=search),
        )

    async def post(self) -> None:
        """Set the limits of a person or group."""
        self.back = f"{self.prefix}admin/limits"
        holder = self.form.choice("holder", Holder) or Holder.PERSON
        name = self.form.text("name", max_length=MAX_PERSON_CHARACTERS, required=True) or ""
        values = {limit: _number(self.form, limit) for limit in LimitName}
        await self.services.limits.set(self.me, holder, name, values)
        self.redirect(f"{self.back}{address(holder=holder, name=name)}", status=303)


def _find(overrides: tuple[LimitOverride, ...], holder: Holder, name: str) -> dict[LimitName, int]:
    found = (each for each in overrides if (each.holder, each.name) == (holder, name))
    override = next(found, None)
    return dict(override.values) if override else {}


def _number(form: Fields, name: LimitName) -> int | None:
    text = form.text(name, max_length=10)
    if not text:
        return None
    try:
        return whole_number(text, name)
    except InvalidInput as error:
        raise InvalidInput(
            "%(limit)s must be a whole number.", limit=_LIMIT_TITLES[name]
        ) from error
