"""Retries writes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from jupyterhub_binder.errors import StoreUnavailable
from jupyterhub_binder.utils.retry import Backoff

T = TypeVar("T")


async def keep_trying(
    keep: Callable[[], Awaitable[T]], log: logging.Logger | logging.LoggerAdapter[Any]
) -> T:
    """Return `keep`'s result, retrying on StoreUnavailable."""
    backoff = Backoff(0.1, max_seconds=5.0)
    while True:
        try:
            return await keep()
        except StoreUnavailable as error:
            log.error("%s (trying again shortly)", error.__cause__ or error)
        await backoff.wait()
