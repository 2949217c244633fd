"""The page of a new environment."""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.backends.base import BACKEND_OPTION
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import ContentMode, Environment, Link
from jupyterhub_binder.utils.validation import (
    MAX_ADDRESS_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_REF_CHARACTERS,
)
from jupyterhub_binder.web.api.parse import query_text, with_content
from jupyterhub_binder.web.i18n.language import N_, say
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.environments import page_of_newest_build
from jupyterhub_binder.web.pages.launches import start_launch
from jupyterhub_binder.web.pages.previews import preview_values

_HINTS = {
    "ref_not_found": N_("Upper and lower case matter in the names of branches and tags."),
    "repository_not_found": N_("Private repositories can't be built here yet."),
    "upstream_unavailable": N_("The host may be busy."),
}


class NewPage(PageHandler):
    """``/new``: preview a link and create an environment."""

    async def get(self) -> None:
        """Show the form and, with a link, its preview."""
        await self._show(
            query_text(self, "url", max_length=MAX_ADDRESS_CHARACTERS),
            query_text(self, "ref", max_length=MAX_REF_CHARACTERS),
        )

    async def post(self) -> None:
        """Create, build and, if requested, launch the environment.

        ``then=kept`` uses the existing environment.
        """
        url = self.form.text("url", max_length=MAX_ADDRESS_CHARACTERS, required=True) or ""
        ref = self.form.text("ref", max_length=MAX_REF_CHARACTERS) or ""
        then = self.form.text("then", max_length=20)
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
        backend = self.form.text("backend", max_length=32)
        return await self.services.environments.create(
            self.me,
            link=with_content(
                link,
                self.form.text("content_url", max_length=MAX_ADDRESS_CHARACTERS),
                self.form.text("content_ref", max_length=MAX_REF_CHARACTERS),
            ),
            name=self.form.text("name", max_length=MAX_NAME_CHARACTERS) or None,
            content=self.form.choice("content", ContentMode),
            options={BACKEND_OPTION: backend} if backend else {},
        )

    def refuse(self, url: str, ref: str, error: BinderError) -> None:
        """Show the form with the error."""
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
