"""``/receipt``: makes an environment from a receipt, after a confirmation."""

from __future__ import annotations

import json
from typing import Any

from jupyterhub_binder.environments.receipts import read_file
from jupyterhub_binder.errors import BinderError, InvalidInput
from jupyterhub_binder.model.receipt import SignedReceipt
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.parse import query_text
from jupyterhub_binder.web.api.render.history import render_receipt
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.i18n.language import say
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.environments import page_of_newest_build

MAX_CHARACTERS = 500_000


class ReceiptPage(PageHandler):
    """Reads a receipt from a file, a paste or a build of this hub."""

    async def get(self) -> None:
        """Show the form, or what the receipt of ``?build=`` would make."""
        build_id = query_text(self, "build", max_length=40)
        if not build_id:
            self._show("")
            return
        signed = await self.services.receipts.fetch(self.me, build_id)
        await self._confirm(json.dumps(to_json(render_receipt(signed)), ensure_ascii=False))

    async def post(self) -> None:
        """Say what a receipt would make; with ``then=build``, make it."""
        text = self._given()
        if self.form.text("then", max_length=10) != "build":
            await self._confirm(text)
            return
        name = self.form.text("name", max_length=MAX_NAME_CHARACTERS) or None
        try:
            environment = await self.services.reproductions.create(self.me, _read(text), name=name)
        except BinderError as error:
            self._refuse(text, error)
            return
        self.redirect(page_of_newest_build(self.prefix, environment), status=303)

    def _given(self) -> str:
        """Return the uploaded file's text, else what was pasted."""
        file = next(iter(self.request.files.get("file", ())), None)
        if file is not None and file.body:
            return file.body.decode("utf-8", "replace")
        return str(self.form.values.get("receipt") or "")

    async def _confirm(self, text: str) -> None:
        try:
            signed = _read(text)
            planned = await self.services.reproductions.plan(signed)
        except BinderError as error:
            self._refuse(text, error)
            return
        self._show(
            text,
            planned=planned,
            facts=signed.receipt,
            notes=[say(each) for each in planned.notes],
        )

    def _refuse(self, text: str, error: BinderError) -> None:
        self.set_status(error.status)
        self._show(text, problem=say(error.message))

    def _show(self, text: str, **values: Any) -> None:
        self.render_page("receipt.html", page_title=_("From a receipt"), text=text, **values)


def _read(text: str) -> SignedReceipt:
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput("The receipt is too large.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return read_file(value)
