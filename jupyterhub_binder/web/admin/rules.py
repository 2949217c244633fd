"""The tabs of what is allowed: rules for repositories, limits of groups and people."""

from __future__ import annotations

from jupyterhub_binder.errors import InvalidInput, NotFound
from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS, MOST_SEARCH_CHARACTERS
from jupyterhub_binder.model import Build
from jupyterhub_binder.oversight import Holder, LimitName, LimitOverride, Rule, RuleKind
from jupyterhub_binder.rules import MOST_PATTERN_CHARACTERS, MOST_REASON_CHARACTERS
from jupyterhub_binder.web.admin.base import AdminHandler, address, part
from jupyterhub_binder.web.i18n import N_
from jupyterhub_binder.web.parse import Fields, query_choice, query_text, whole_number
from jupyterhub_binder.web.views import Pill

_RULE_PILLS = {RuleKind.BAN: Pill("bad", N_("Banned")), RuleKind.ALLOW: Pill("good", N_("Allowed"))}
_LIMIT_WORDS = {
    LimitName.ENVIRONMENTS: N_("Environments kept"),
    LimitName.BUILDS: N_("Builds waiting or running"),
    LimitName.RUNNING: N_("Builds running at once"),
    LimitName.SHARE: N_("Share of the queue"),
}


class RulesPage(AdminHandler):
    """``/admin/rules``: which repositories may be built."""

    async def get(self) -> None:
        """Show a part of the rules, and what one that was just added means for builds."""
        search = query_text(self, "search", most=MOST_SEARCH_CHARACTERS)
        pattern = query_text(self, "pattern", most=MOST_PATTERN_CHARACTERS)
        rules = self.services.command.rules.all
        wanted = search.casefold()
        found = [rule for rule in rules if wanted in f"{rule.pattern} {rule.reason}".casefold()]
        added, matched = self._added()
        self.render_tab(
            "rules",
            search=search,
            pattern=pattern,
            pills=_RULE_PILLS,
            added=added,
            matched=matched,
            any_allowed=any(rule.kind is RuleKind.ALLOW for rule in rules),
            **self.pager(part(found, self.offset), search=search),
        )

    def _added(self) -> tuple[Rule | None, tuple[Build, ...]]:
        """Return the rule that was just added, and the builds that it matches."""
        try:
            rule = self.services.command.rules.get(query_text(self, "added", most=40))
        except NotFound:
            return None, ()
        banned = rule.kind is RuleKind.BAN
        return rule, self.services.builds.matched_by(rule) if banned else ()

    async def post(self) -> None:
        """Add a rule."""
        self.back = f"{self.prefix}admin/rules"
        rule = await self.services.command.rules.add(
            self.me,
            self.form.choice("kind", RuleKind) or RuleKind.BAN,
            self.form.text("pattern", most=MOST_PATTERN_CHARACTERS, required=True) or "",
            self.form.text("reason", most=MOST_REASON_CHARACTERS) or "",
        )
        self.redirect(f"{self.back}{address(added=rule.id)}", status=303)


class RuleDo(AdminHandler):
    """``POST /admin/rules/<id>/remove``, and ``…/cancel`` for the builds that it matches."""

    async def post(self, rule_id: str, action: str) -> None:
        """Do it, and show the rules again."""
        self.back = f"{self.prefix}admin/rules"
        rules = self.services.command.rules
        if action == "remove":
            await rules.remove(self.me, rule_id)
        else:
            await self.services.builds.cancel_matched(rules.get(rule_id), user=self.me)
        self.redirect(self.back, status=303)


class LimitsPage(AdminHandler):
    """``/admin/limits``: how much everybody, groups and people may have."""

    async def get(self) -> None:
        """Show a part of those that differ, and somebody's if asked for."""
        limits = self.services.command.limits
        search = query_text(self, "search", most=MOST_SEARCH_CHARACTERS)
        found = [each for each in limits.overrides if search.casefold() in each.name.casefold()]
        holder = Holder(query_choice(self, "holder", tuple(Holder)))
        name = query_text(self, "name", most=MOST_PERSON_CHARACTERS).strip()
        shown = name and holder is Holder.PERSON
        self.render_tab(
            "limits",
            search=search,
            words=_LIMIT_WORDS,
            defaults=limits.defaults,
            holder=holder,
            who=name,
            own=_find(limits.overrides, holder, name),
            chosen=limits.of(name) if shown else {},
            groups=limits.groups_of(name) if shown else (),
            **self.pager(part(found, self.offset), search=search),
        )

    async def post(self) -> None:
        """Set those of a person or of a group."""
        self.back = f"{self.prefix}admin/limits"
        holder = self.form.choice("holder", Holder) or Holder.PERSON
        name = self.form.text("name", most=MOST_PERSON_CHARACTERS, required=True) or ""
        values = {limit: _number(self.form, limit) for limit in LimitName}
        await self.services.command.limits.set(self.me, holder, name, values)
        self.redirect(f"{self.back}{address(holder=holder, name=name)}", status=303)


def _find(overrides: tuple[LimitOverride, ...], holder: Holder, name: str) -> dict[LimitName, int]:
    found = (each for each in overrides if (each.holder, each.name) == (holder, name))
    override = next(found, None)
    return dict(override.values) if override else {}


def _number(form: Fields, name: LimitName) -> int | None:
    text = form.text(name, most=10)
    if not text:
        return None
    try:
        return whole_number(text, name)
    except InvalidInput as error:
        raise InvalidInput(f"{_LIMIT_WORDS[name]}: a whole number.") from error
