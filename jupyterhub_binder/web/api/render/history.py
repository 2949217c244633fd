"""Converts what is known of an environment's past to the API's shapes. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

from jupyterhub_binder.environments.inventories import Contents, PackageComparison
from jupyterhub_binder.model import Environment, User
from jupyterhub_binder.model.history import Change
from jupyterhub_binder.model.inventory import Package
from jupyterhub_binder.model.receipt import SignedReceipt
from jupyterhub_binder.utils.signing import ALGORITHM, PublicKey
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.shapes.history import (
    ChangeJSON,
    DifferenceJSON,
    PackageChangeJSON,
    PackageJSON,
    PackagesJSON,
    ReceiptKeyJSON,
    SignedReceiptJSON,
)


def render_change(change: Change, environment: Environment, user: User) -> ChangeJSON:
    """Render a change as one person sees it."""
    return ChangeJSON(
        number=change.number,
        from_number=change.from_number,
        to_number=change.to_number,
        cause=change.cause,
        reason=change.reason,
        time=change.time,
        by=change.by if user.admin or user.name == environment.owner else None,
    )


def render_packages(contents: Contents) -> PackagesJSON:
    """Render what is in a build's image."""
    inventory = contents.inventory
    return PackagesJSON(
        build_id=contents.build.id,
        known=inventory is not None,
        items=_packages(inventory.packages if inventory else ()),
        tools=inventory.tools if inventory else {},
    )


def _packages(packages: Iterable[Package]) -> tuple[PackageJSON, ...]:
    return tuple(
        PackageJSON(name=each.name, version=each.version, source=each.source) for each in packages
    )


def packages_csv(packages: Iterable[Package]) -> str:
    """Write packages for a spreadsheet; `clean` leaves no text that begins a formula."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(("name", "version", "source"))
    writer.writerows((each.name, each.version, each.source) for each in packages)
    return file.getvalue()


def render_difference(contents: Contents, found: PackageComparison | None) -> DifferenceJSON:
    """Render what differs between two builds."""
    difference = found.difference if found else None
    return DifferenceJSON(
        from_number=found.before.number if found else None,
        to_number=contents.request.number if contents.request else None,
        known=difference is not None,
        added=_packages(difference.added if difference else ()),
        removed=_packages(difference.removed if difference else ()),
        changed=tuple(
            PackageChangeJSON(
                name=each.name, source=each.source, before=each.before, after=each.after
            )
            for each in (difference.changed if difference else ())
        ),
    )


def render_receipt(signed: SignedReceipt) -> SignedReceiptJSON:
    """Render a receipt; `environments.receipts.read_file` reads it."""
    return SignedReceiptJSON(
        receipt=signed.receipt,
        key=render_key(PublicKey.from_text(signed.public_key)),
        signature=signed.signature,
    )


def write_receipt_file(signed: SignedReceipt) -> str:
    """Write a receipt as the text of a file."""
    return json.dumps(to_json(render_receipt(signed)), ensure_ascii=False, indent=1) + "\n"


def render_key(key: PublicKey) -> ReceiptKeyJSON:
    """Render a public key."""
    return ReceiptKeyJSON(algorithm=ALGORITHM, id=key.id, public_key=key.text)
