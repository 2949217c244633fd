"""The pages of environments: list, one environment, forms."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from jupyterhub_binder.admin.rules import MAX_REASON_CHARACTERS
from jupyterhub_binder.backends.base import BACKEND_OPTION, BuildBackend
from jupyterhub_binder.errors import InvalidInput, NotFound
from jupyterhub_binder.model import ContentMode, Environment, Link, Page, Recipe, UpdateMode
from jupyterhub_binder.model.preferences import Application
from jupyterhub_binder.repositories.links.binder import format_binder_link
from jupyterhub_binder.utils.validation import (
    MAX_ADDRESS_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_REF_CHARACTERS,
)
from jupyterhub_binder.web.api.parse import query_choice, query_text, read_query, whole_number
from jupyterhub_binder.web.api.shapes.environments import ListQuery
from jupyterhub_binder.web.i18n.language import N_
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.failures import note_for_admin
from jupyterhub_binder.web.pages.featured import FEW, MORE, feature_values, make_cards
from jupyterhub_binder.web.pages.files import FilesView, files_view
from jupyterhub_binder.web.pages.history import CHANGES_SIZE, ChangeView
from jupyterhub_binder.web.pages.prebuild import ahead_values
from jupyterhub_binder.web.pages.profiles import profiles_view
from jupyterhub_binder.web.pages.sharing import sharing_values
from jupyterhub_binder.web.pages.views import BuildView

PAGE_SIZE = 50
HISTORY_SIZE = 50

_SAID = {
    "": "",
    "saved": N_("Saved."),
    "newest": N_("The newest commit is already built."),
    "chosen": N_("The next launch of %(name)s uses the build that you chose."),
    "stopped": N_("Stopping the server of %(name)s. Saved files are kept."),
    "idle": N_("You have no server running in %(name)s."),
    "restored": N_("Restored %(name)s."),
    "shared": N_("The shares are saved."),
    "copied": N_("This is your own copy. It stays as it is when the original changes."),
    "offered": N_("You offered it. They become the owner when they accept."),
    "withdrawn": N_("The offer is withdrawn."),
    "declined": N_("You declined the offer."),
    "accepted": N_("%(name)s is yours now."),
    "hook_removed": N_("The webhook is removed. Remove it at the host, too."),
    "token_kept": N_("The token is stored, encrypted. It is not shown again."),
    "token_removed": N_("The token is removed. Revoke it at the host, too."),
    "resumed": N_("Updates are resumed."),
    "featured": N_("%(name)s is featured."),
    "unfeatured": N_("%(name)s is no longer featured."),
    "pinned": N_("%(name)s now stands at the top of your list."),
    "unpinned": N_("%(name)s is no longer pinned."),
}
"""Messages about the last action."""


class EnvironmentsPage(PageHandler):
    """``/``: a person's environments."""

    async def get(self) -> None:
        """Show the list."""
        query = read_query(self, ListQuery, form=True)
        search, order = query.search, query.order
        page = await self.services.environments.list(
            self.me,
            search=search,
            order=order,
            offset=query.offset,
            limit=PAGE_SIZE,
            gallery=not search,
        )
        gallery = () if search or query.offset else await self.services.gallery.list(self.me)
        shown = {each.id: each for each in (*page.items, *(one.environment for one in gallery))}
        views = {item.id: item for item in await self.fetch_views(shown.values())}
        items = [views[each.id] for each in page.items]
        self.render_page(
            "environments.html",
            page=Page(tuple(items), page.total, page.offset, page.limit),
            search=search,
            searching=bool(search),
            order=order,
            cards=make_cards(self.prefix, gallery, views),
            first_cards=FEW if page.total else MORE,
            unfinished=any(item.unfinished for item in views.values()),
            previous_url=self._url(search, order, max(0, page.offset - page.limit)),
            next_url=self._url(search, order, page.offset + page.limit),
            name_url=self._url(search, "name", 0),
            recent_url=self._url(search, "recent", 0),
            said=await self._said(),
            use=await self.services.sharing.fetch_use(page.items),
            offers=await self.services.transfers.list(self.me),
            **await self._deleted(),
        )

    async def _said(self) -> str:
        """Return the message; empty if the environment is gone."""
        said = query_choice(self, "said", tuple(_SAID))
        of = query_text(self, "of", max_length=40)
        if said == "declined":
            return _say(said, "")
        try:
            return _say(said, (await self.services.environments.recall(self.me, of)).name)
        except NotFound:
            return ""

    async def _deleted(self) -> dict[str, Any]:
        """Return the deleted environment for undo and stop."""
        deleted = query_text(self, "deleted", max_length=40)
        if not deleted:
            return {}
        try:
            environment = await self.services.environments.get_deleted(self.me, deleted)
        except NotFound:
            return {}
        running = deleted in await self.fetch_servers()
        return {"deleted": deleted, "deleted_name": environment.name, "deleted_runs": running}

    def _url(self, search: str, order: str, offset: int) -> str:
        given = {"search": search, "order": order if order != "recent" else "", "offset": offset}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{self.prefix}?{query}" if query else self.prefix


class EnvironmentPage(PageHandler):
    """``/environments/<id>``."""

    async def get(self, environment_id: str) -> None:
        """Show builds and settings."""
        environments = self.services.environments
        environment = await environments.get(self.me, environment_id)
        history = await environments.requests.list(self.me, environment_id, limit=HISTORY_SIZE)
        changes = await environments.requests.changes(self.me, environment_id, limit=CHANGES_SIZE)
        shows_people = self.me.admin or self.me.name == environment.owner
        (item,) = await self.fetch_views([environment])
        applications = await self.services.preferences.applications(environment)
        self.render_page(
            "environment.html",
            page_title=environment.name,
            page_state=item.kind,
            item=item,
            said=_say(query_choice(self, "said", tuple(_SAID)), environment.name),
            note=self._note(environment),
            asking=self.services.upstreams.is_asking(environment),
            upstream=await self.services.upstreams.fetch_state(environment),
            history=history,
            changes=changes,
            change_views=[ChangeView(each, shows_people) for each in changes.items],
            pythons=self._pythons(environment),
            makers=self._makers(),
            applications=applications,
            profiles=await profiles_view(self, environment_id),
            files=await self._files(environment, item.preference.opens, applications),
            builds=[
                BuildView(request.build, None, environment, request) for request in history.items
            ],
            **self._sharing(environment),
            **await sharing_values(self, environment),
            **await feature_values(self, environment),
            **await ahead_values(self, environment),
        )

    def _pythons(self, environment: Environment) -> tuple[str, ...]:
        """Return the Python versions to choose from; a receipt's environment has its own."""
        chosen = {n: v for n, v in environment.options.items() if n == BACKEND_OPTION}
        pythons = self.services.backend.pythons_of(Recipe(), chosen)
        return () if "lock" in environment.options else pythons.offered

    def _makers(self) -> tuple[BuildBackend, ...]:
        """Return the backends to choose from, if there are several."""
        makers = self.services.backend.makers
        return makers if len(makers) > 1 else ()

    async def _files(
        self, environment: Environment, preferred: str, applications: tuple[Application, ...]
    ) -> FilesView | None:
        return files_view(
            self,
            await self.services.files.list(environment),
            commit=environment.current.build.resolved_ref if environment.current else "",
            preferred=preferred,
            applications=applications,
        )

    def _note(self, environment: Environment) -> str:
        """Return what an administrator needs to know of the newest build."""
        latest = environment.latest
        if latest is None:
            return ""
        return note_for_admin(latest.build, self.address_of_build(latest.build))

    def _sharing(self, environment: Environment) -> dict[str, str]:
        """Return a link and badge, if the provider is enabled."""
        try:
            provider = self.services.providers[environment.spec.provider]
        except InvalidInput:
            return {}
        here = f"{self.request.protocol}://{self.request.host}{self.prefix}"
        link = Link(
            environment.spec,
            environment.path,
            content_url=environment.content_url,
            content_ref=environment.content_ref,
        )
        link_url = here + format_binder_link(provider, link)
        badge_url = f"{here}badge_logo.svg"
        return {
            "link_url": link_url,
            "badge_url": badge_url,
            "badge_markdown": f"[![launch binder]({badge_url})]({link_url})",
        }


class EnvironmentAction(PageHandler):
    """``POST /environments/<id>/<action>``, for browsers without scripts."""

    async def post(self, environment_id: str, action: str) -> None:
        """Run the action, then redirect."""
        self.back = self._page(environment_id)
        act = getattr(self, f"_{action}")
        self.redirect(await act(environment_id), status=303)

    async def _settings(self, environment_id: str) -> str:
        await self.services.environments.update(
            self.me,
            environment_id,
            name=self.form.text("name", max_length=MAX_NAME_CHARACTERS, required=True)
            if "name" in self.form
            else None,
            path=self.form.path("path"),
            content=self.form.choice("content", ContentMode),
            content_url=self.form.text("content_url", max_length=MAX_ADDRESS_CHARACTERS),
            content_ref=self.form.text("content_ref", max_length=MAX_REF_CHARACTERS),
            updates=self.form.choice("updates", UpdateMode),
            python=self.form.text("python", max_length=10),
            backend=self.form.text("backend", max_length=32),
        )
        return f"{self._page(environment_id)}?said=saved"

    async def _resume(self, environment_id: str) -> str:
        environments = self.services.environments
        environment = await environments.update(self.me, environment_id, resume=True)
        self.services.upstreams.ask_later(environment.spec)
        return f"{self._page(environment_id)}?said=resumed"

    async def _build(self, environment_id: str) -> str:
        environment = await self.services.environments.build(
            self.me,
            environment_id,
            ref=self.form.text("ref", max_length=MAX_REF_CHARACTERS) or None,
            force=self.form.text("force", max_length=5) == "1",
            python=self.form.text("python", max_length=10),
            backend=self.form.text("backend", max_length=32),
        )
        page = page_of_newest_build(self.prefix, environment)
        return f"{page}?said=newest" if page == self.back else page

    async def _choose(self, environment_id: str) -> str:
        number = whole_number(self.form.text("number", max_length=10) or "", "number")
        reason = self.form.text("reason", max_length=MAX_REASON_CHARACTERS) or ""
        environment = await self.services.environments.requests.choose(
            self.me, environment_id, number, reason=reason
        )
        chosen = environment.current and environment.current.number == number
        page = self.back if chosen else page_of_newest_build(self.prefix, environment)
        return f"{page}?said=chosen" if page == self.back else page

    async def _stop(self, environment_id: str) -> str:
        ended = await self.services.launches.stop_servers(self.me, self.token, environment_id)
        said = "stopped" if ended else "idle"
        to = self.form.text("to", max_length=10)
        if to not in ("list", "deleted"):
            return f"{self._page(environment_id)}?said={said}"
        undo = f"&deleted={environment_id}" if to == "deleted" else ""
        return f"{self.prefix}?said={said}&of={environment_id}{undo}"

    async def _pin(self, environment_id: str) -> str:
        pinned = self.form.text("pinned", max_length=5) == "1"
        await self.services.preferences.set(self.me, environment_id, pinned=pinned)
        return f"{self.prefix}?said={'pinned' if pinned else 'unpinned'}&of={environment_id}"

    async def _delete(self, environment_id: str) -> str:
        await self.services.environments.delete(self.me, environment_id)
        return f"{self.prefix}?deleted={environment_id}"

    async def _restore(self, environment_id: str) -> str:
        await self.services.environments.restore(self.me, environment_id)
        return f"{self.prefix}?said=restored&of={environment_id}"

    def _page(self, environment_id: str) -> str:
        return f"{self.prefix}environments/{environment_id}"


def _say(said: str, name: str) -> str:
    return _(_SAID[said], name=name) if said else ""


def page_of_newest_build(prefix: str, environment: Environment) -> str:
    """Return the page after a build request."""
    if environment.latest is None or environment.latest.build.state.finished:
        return f"{prefix}environments/{environment.id}"
    return f"{prefix}builds/{environment.latest.build.id}"
