"""Routes of an environment's past: which build was current, and what is in its builds."""

from __future__ import annotations

from jupyterhub_binder.environments.receipts import read_file
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_page
from jupyterhub_binder.web.api.render.history import (
    packages_csv,
    render_change,
    render_difference,
    render_key,
    render_packages,
    render_receipt,
)
from jupyterhub_binder.web.api.shapes import PageJSON, PageQuery
from jupyterhub_binder.web.api.shapes.builds import DownloadQuery
from jupyterhub_binder.web.api.shapes.environments import EnvironmentJSON
from jupyterhub_binder.web.api.shapes.history import (
    ChangeJSON,
    DifferenceJSON,
    DifferenceQuery,
    PackagesJSON,
    ReceiptBody,
    ReceiptCheckBody,
    ReceiptCheckJSON,
    ReceiptKeyJSON,
    SignedReceiptJSON,
)
from jupyterhub_binder.web.handlers import APIHandler


class ChangesHandler(Handler):
    """The changes of the current build."""

    @operation("list_changes")
    async def get(self, environment_id: str, *, query: PageQuery) -> PageJSON[ChangeJSON]:
        """List the changes of the build that servers start from, newest first."""
        environment = await self.services.environments.get(self.me, environment_id)
        page = await self.services.environments.requests.changes(
            self.me, environment_id, offset=query.offset, limit=query.limit
        )
        return render_page(page, lambda change: render_change(change, environment, self.me))


class PackagesHandler(Handler):
    """What is in a build's image."""

    @operation("list_packages")
    async def get(self, build_id: str) -> PackagesJSON:
        """List the packages in a build's image, with their versions."""
        return render_packages(await self.services.inventories.fetch(self.me, build_id))


class PackagesCSVHandler(Handler):
    """What is in a build's image, for a spreadsheet."""

    @operation("download_packages", media="text/csv")
    async def get(self, build_id: str) -> None:
        """Get the packages in a build's image as CSV for a spreadsheet."""
        inventory = (await self.services.inventories.fetch(self.me, build_id)).inventory
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="packages-{build_id}.csv"')
        self.set_header("Cache-Control", "no-store")
        self.finish(packages_csv(inventory.packages if inventory else ()))


class DifferenceHandler(Handler):
    """What differs between two builds."""

    @operation("compare_packages")
    async def get(self, build_id: str, *, query: DifferenceQuery) -> DifferenceJSON:
        """Get what differs between the packages of a build and of another one.

        By default, the other one is the successful build before it in your environment.
        """
        inventories = self.services.inventories
        contents = await inventories.fetch(self.me, build_id)
        found = await inventories.compare_with(self.me, contents, query.number or None)
        return render_difference(contents, found)


class ReceiptHandler(Handler):
    """What a build was made of."""

    @operation("get_receipt", errors=(409,))
    async def get(self, build_id: str, *, query: DownloadQuery) -> SignedReceiptJSON:
        """Get a build's receipt: what it was made of, enough to make exactly it again.

        It is signed over `receipt` as canonical JSON: keys sorted, no blanks, UTF-8.
        """
        signed = await self.services.receipts.fetch(self.me, build_id)
        if query.download is not None:
            name = f"environment-{build_id}.json"
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        return render_receipt(signed)


class ReceiptKeyHandler(APIHandler):
    """The key that receipts are signed with; anybody may check a receipt."""

    signed_in_only = False

    async def prepare(self) -> None:
        """Skip authentication: the key is public."""

    @operation("get_receipt_key", public=True)
    async def get(self) -> ReceiptKeyJSON:
        """Get the public key that this service signs receipts with."""
        return render_key(self.services.receipts.public_key)


class ReceiptsHandler(Handler):
    """Environments from receipts."""

    @operation("create_from_receipt", status=201, errors=(409, 422, 429), needs_body=True)
    async def post(self, *, body: ReceiptBody) -> EnvironmentJSON:
        """Create an environment from a receipt, and build it with the same versions if possible."""
        signed = read_file(body.receipt)
        environment = await self.services.reproductions.create(self.me, signed, name=body.name)
        return await self.render_environment(environment)


class ReceiptCheckHandler(Handler):
    """What a receipt would make."""

    @operation("check_receipt", needs_body=True)
    async def post(self, *, body: ReceiptCheckBody) -> ReceiptCheckJSON:
        """Check a receipt, and say what this hub would make of it. Nothing is built."""
        planned = await self.services.reproductions.plan(read_file(body.receipt))
        return ReceiptCheckJSON(
            own=planned.own,
            key_id=planned.key_id,
            exact=planned.exact,
            notes=tuple(map(str, planned.notes)),
        )
