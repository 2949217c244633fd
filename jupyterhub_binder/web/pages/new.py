"""The page of a new environment: was my link understood, and what will happen."""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.inputs import (
    MOST_ADDRESS_CHARACTERS,
    MOST_NAME_CHARACTERS,
    MOST_REF_CHARACTERS,
)
from jupyterhub_binder.model import ContentMode, Environment, Link
from jupyterhub_binder.web.i18n import N_
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.environments import page_of_newest_build
from jupyterhub_binder.web.pages.launches import start_launch
from jupyterhub_binder.web.pages.previews import preview_values
from jupyterhub_binder.web.parse import query_text, with_content
from jupyterhub_binder.web.sentences import say

_HINTS = {
    "ref_not_found": N_("Look at the repository's branches and tags; upper and lower case count."),
    "host_not_found": N_("Check the spelling. It may be the hub that has no way to that host."),
    "repository_not_found": N_(
        "Check the spelling. Private repositories cannot be built here yet."
    ),
    "upstream_unavailable": N_("The host may be busy. Try again in a minute."),
}


class NewPage(PageHandler):
    """``/new``: did it understand my link, and what will happen."""

    async def get(self) -> None:
        """Show the form, and what was understood of a link if there is one."""
        await self._show(
            query_text(self, "url", most=MOST_ADDRESS_CHARACTERS),
            query_text(self, "ref", most=MOST_REF_CHARACTERS),
        )

    async def post(self) -> None:
        """Make the environment, build it, and launch it if that was asked for.

        With ``then=kept`` nothing is made: the one that is kept already is built and launched.
        """
        url = self.form.text("url", most=MOST_ADDRESS_CHARACTERS, required=True) or ""
        ref = self.form.text("ref", most=MOST_REF_CHARACTERS) or ""
        then = self.form.text("then", most=20)
        try:
            link = self._link(url, ref)
            if then == "kept":
                environment = await self.services.environments.ensure(self.me, link)
            else:
                environment = await self._create(link)
        except BinderError as error:
            self.refuse(url, ref, error)
            return
        if then in ("kept", "launch"):
            await start_launch(self, environment.id, path=link.path or None)
            return
        self.redirect(page_of_newest_build(self.prefix, environment), status=303)

    async def _create(self, link: Link) -> Environment:
        return await self.services.environments.create(
            self.me,
            link=with_content(link, self.form),
            name=self.form.text("name", most=MOST_NAME_CHARACTERS) or None,
            content=self.form.choice("content", ContentMode),
        )

    def refuse(self, url: str, ref: str, error: BinderError) -> None:
        """Answer with the form, and what is wrong with the link that is in it."""
        self.set_status(error.status)
        self._show_form(url, ref, problem=_problem(error))

    def _link(self, url: str, ref: str) -> Link:
        providers = self.services.providers
        link = providers.understand(url)
        return providers.at_ref(link, ref) if ref else link

    async def _show(self, url: str, ref: str) -> None:
        if not url.strip():
            self._show_form("", "")
            return
        try:
            preview = await self.services.previews.preview(self.me, self._link(url, ref))
            values = await preview_values(self, preview)
        except BinderError as error:
            self._show_form(url, ref, problem=_problem(error))
            return
        self._show_form(url, ref, **values)

    def _show_form(self, url: str, ref: str, **values: Any) -> None:
        providers = [
            {"name": each.display_name, "placeholder": each.placeholder}
            for each in self.services.providers
        ]
        self.render_page(
            "new.html",
            page_title=_("New environment"),
            url=url,
            ref=ref,
            providers=providers,
            **values,
        )


def _problem(error: BinderError) -> dict[str, str]:
    code = error.error_code
    return {"code": code, "message": say(error.message), "hint": _HINTS.get(code, "")}
