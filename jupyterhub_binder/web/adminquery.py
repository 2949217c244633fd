"""What admins ask for, read from a query alike by the REST API and the pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS, MOST_SEARCH_CHARACTERS
from jupyterhub_binder.oversight import Action, LimitName, PersonUse
from jupyterhub_binder.usage import PERIODS_DAYS, UseOrder, find, in_order
from jupyterhub_binder.web.parse import Fields, HasArguments, query_choice, query_text

if TYPE_CHECKING:
    from jupyterhub_binder.store import Store

_DAYS = ("30", *(str(days) for days in PERIODS_DAYS if days != 30))


@dataclass(frozen=True, slots=True)
class UseQuery:
    """Which people's use is asked for, and in which order."""

    days: int
    order: UseOrder
    search: str

    @classmethod
    def read(cls, handler: HasArguments) -> UseQuery:
        """Read it. Raises InvalidInput."""
        return cls(
            days=int(query_choice(handler, "days", _DAYS)),
            order=UseOrder(query_choice(handler, "sort", tuple(UseOrder))),
            search=query_text(handler, "search", most=MOST_SEARCH_CHARACTERS).strip(),
        )

    async def fetch(self, store: Store) -> list[PersonUse]:
        """Return everybody's use as it was asked for."""
        uses = await store.list_uses(since=utc_now() - timedelta(days=self.days))
        return in_order(find(uses, self.search), self.order)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries of the audit log are asked for."""

    person: str | None
    action: Action | None

    @classmethod
    def read(cls, handler: HasArguments) -> AuditQuery:
        """Read it. Raises InvalidInput."""
        action = query_choice(handler, "action", ("", *Action))
        return cls(
            person=query_text(handler, "person", most=MOST_PERSON_CHARACTERS).strip() or None,
            action=Action(action) if action else None,
        )


def read_limits(fields: Fields) -> dict[LimitName, int | None]:
    """Read the limits of a body; those that are not there are None. Raises InvalidInput."""
    return {name: fields.integer(name, least=0) if name in fields else None for name in LimitName}
