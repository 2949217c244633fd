"""The administrators' part of the service, put together: rules, limits, draining, audit log.

Everything that makes or starts something has it at hand.
"""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.audit import Audit
from jupyterhub_binder.drain import Draining
from jupyterhub_binder.limits import Limits
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.rules import Rules
from jupyterhub_binder.store import Store


class Command:
    """What administrators decide, and what they look back at."""

    def __init__(self, *, store: Store, providers: Providers, parent: Any = None) -> None:
        self.audit = Audit(parent=parent, store=store)
        self.rules = Rules(parent=parent, store=store, audit=self.audit, providers=providers)
        self.limits = Limits(parent=parent, store=store, audit=self.audit)
        self.drain = Draining(parent=parent, store=store, audit=self.audit)

    async def start(self) -> None:
        """Read what was decided. Raises ConfigurationError for rules that mean nothing."""
        await self.rules.start()
        await self.limits.start()
        await self.drain.start()

    async def stop(self) -> None:
        """Keep what the audit log has not kept yet; may be called twice."""
        await self.audit.stop()
