"""The pages of an environment's past: going back to a build, and what is in one."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from jupyterhub_binder.model import Build, BuildRequest, BuildState
from jupyterhub_binder.model.history import Change, ChangeCause
from jupyterhub_binder.model.inventory import Difference, Package
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.validation import MAX_SEARCH_CHARACTERS
from jupyterhub_binder.web.api.parse import query_text, whole_number
from jupyterhub_binder.web.i18n.language import N_, say
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.views import BuildView

CHANGES_SIZE = 20
"""Changes on an environment's page."""

_CAUSES = {
    ChangeCause.ASKED: N_("requested"),
    ChangeCause.BY_ITSELF: N_("automatic update"),
    ChangeCause.ROLLED_BACK: N_("rolled back"),
    ChangeCause.CHOSEN: N_("chosen"),
}


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change in words."""

    change: Change
    shows_person: bool

    @property
    def title(self) -> str:
        """``Build 3 → Build 2``."""
        numbers = (self.change.from_number, self.change.to_number)
        return " → ".join(_("Build %(number)s", number=each) for each in numbers if each)

    @property
    def cause(self) -> str:
        """``rolled back``."""
        return _(_CAUSES[self.change.cause])

    @property
    def by(self) -> str:
        """Who did it; empty if nobody asked, or if the reader may not know."""
        own = self.change.cause is ChangeCause.BY_ITSELF
        return "" if own or not self.shows_person else self.change.by


class UsePage(PageHandler):
    """``/environments/<id>/use/<number>``: what it means to use another build."""

    async def get(self, environment_id: str, number: str) -> None:
        """Show the builds, what becomes of them, and the form."""
        environment = await self.services.environments.get(self.me, environment_id, Right.MANAGE)
        self.back = f"{self.prefix}environments/{environment_id}"
        wanted = await self.services.environments.requests.get(
            self.me, environment_id, whole_number(number, "number")
        )
        there = await self._is_there(wanted)
        (item,) = await self.fetch_views([environment])
        self.render_page(
            "use_build.html",
            page_title=_("Use build %(number)s", number=wanted.number),
            item=item,
            wanted=BuildView(wanted.build, None, environment, wanted),
            current=environment.current,
            refusal=self.services.rules.judge(wanted.build, self.me.name),
            there=there,
            comparison=await self._compare(environment.current, wanted),
            expected=None if there else await self._expected_seconds(wanted),
        )

    async def _compare(
        self, current: BuildRequest | None, wanted: BuildRequest
    ) -> ComparisonView | None:
        if current is None or current.number == wanted.number:
            return None
        found = await self.services.inventories.compare(current, wanted)
        return ComparisonView(found.difference)

    async def _is_there(self, wanted: BuildRequest) -> bool:
        built = wanted.build.state is BuildState.BUILT
        return built and await self.services.launch_specs.is_there(wanted.build)

    async def _expected_seconds(self, wanted: BuildRequest) -> float | None:
        return await self.services.builds.expected_seconds(wanted.build)


class PackagesPage(PageHandler):
    """``/builds/<id>/packages``: what is in an image, and what differs from another one."""

    async def get(self, build_id: str) -> None:
        """Show the packages that match the search, and the difference."""
        inventories = self.services.inventories
        contents = await inventories.fetch(self.me, build_id)
        search = query_text(self, "search", max_length=MAX_SEARCH_CHARACTERS).strip()
        asked = query_text(self, "with", max_length=10)
        number = whole_number(asked, "with") if asked else None
        found = await inventories.compare_with(self.me, contents, number)
        inventory = contents.inventory
        packages = inventory.packages if inventory else ()
        self.render_page(
            "packages.html",
            page_title=_("Packages"),
            view=BuildView(contents.build, None, contents.environment, contents.request),
            inventory=inventory,
            why_unknown=self._why_unknown(contents.build),
            total=len(packages),
            shown=tuple(filter(lambda each: _matches(each, search), packages)),
            search=search,
            choices=await inventories.list_choices(self.me, contents),
            other=found.before if found else None,
            comparison=ComparisonView(found.difference) if found else None,
            here=f"{self.prefix}builds/{build_id}/packages",
            clear_url=f"?{urlencode({'with': asked})}" if asked else "?",
        )

    def _why_unknown(self, build: Build) -> str:
        if not build.state.finished:
            return _("They are known when the build has ended.")
        return say(self.services.inventories.why_unknown(build))


def _matches(package: Package, search: str) -> bool:
    return all(word in package.name.lower() for word in search.lower().split())


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """What differs, in words and as rows."""

    difference: Difference | None
    """None if unknown."""

    @property
    def words(self) -> str:
        """``3 packages changed, 1 package added``."""
        found = self.difference
        if found is None:
            return _("The packages of one of the builds are unknown.")
        changed, added, removed = map(len, (found.changed, found.added, found.removed))
        counts = (
            Message.counted("%(num)s package changed", "%(num)s packages changed", changed),
            Message.counted("%(num)s package added", "%(num)s packages added", added),
            Message.counted("%(num)s package removed", "%(num)s packages removed", removed),
        )
        said = [say(each) for each in counts if each.values["num"]]
        return ", ".join(said) or _("The same packages in the same versions.")

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Name, version before and version after, in order of names; empty for none."""
        found = self.difference or Difference()
        rows = [
            *((each.name, each.before, each.after) for each in found.changed),
            *((each.name, "", each.version) for each in found.added),
            *((each.name, each.version, "") for each in found.removed),
        ]
        return sorted(rows, key=lambda row: row[0].lower())
