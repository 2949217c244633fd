"""Explains a build that has failed, from its stored log and its checkout.

Pages of the log are read one after another and searched in a thread. A failure to explain leaves
the reason as it was: it never keeps a build from ending.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.base import Pythons
from jupyterhub_binder.builds.explain.explainer import Explainer, Failure, Finder
from jupyterhub_binder.builds.explain.rules import RuleError, read_rules
from jupyterhub_binder.builds.explain.ways import FilesAtHost, RecipeText
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model import Build, Reason, Recipe
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.redact import redactor

Explain = Callable[[Build, Reason, Recipe, Path], Awaitable[Reason]]

_PAGE = 5_000
_MAX_LINES = 200_000
"""Lines of a log that are searched: half from its beginning, half from its end."""
_MAX_SECONDS = 60.0
_MAX_FILES = 20


class LogExplainer:
    """Explains builds of one store."""

    def __init__(
        self,
        store: Store,
        log: logging.Logger | logging.LoggerAdapter[Any],
        pythons: Callable[[Recipe, Mapping[str, Any]], Pythons] = lambda _recipe, _options: (
            Pythons()
        ),
    ) -> None:
        self._store = store
        self._pythons = pythons
        self._log = log
        self._explainer: Explainer | None = None

    async def start(self, path: str) -> None:
        """Read the rules. Raises ConfigurationError, which names the rule."""
        await asyncio.to_thread(self._read, path)

    def _read(self, path: str) -> Explainer:
        try:
            self._explainer = Explainer(read_rules(path))
        except RuleError as error:
            raise ConfigurationError(f"Builds.failure_rules: {error}.") from error
        except OSError as error:
            raise ConfigurationError(
                f"Builds.failure_rules: can't read {path}: {error.strerror}."
            ) from error
        return self._explainer

    async def explain(self, build: Build, reason: Reason, recipe: Recipe, checkout: Path) -> Reason:
        """Return the reason with its explanation, as far as there is one."""
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                return await self._explain(build, reason, recipe, checkout)
        except Exception:  # noqa: BLE001 - the build must end, with the reason that there is
            self._log.exception("The failure of build %s can't be explained", build.id)
            return reason

    async def _explain(
        self, build: Build, reason: Reason, recipe: Recipe, checkout: Path
    ) -> Reason:
        explainer = self._explainer or await asyncio.to_thread(self._read, "")
        finder = explainer.finder()
        if explainer.needs_log(Failure(reason, phase=build.phase)):
            await self._search(build.id, finder)
            finder.read_sentence(build.lines + 1, reason.message)
        files = await asyncio.to_thread(_read_files, recipe, checkout)
        pythons = await asyncio.to_thread(self._pythons, recipe, build.options)
        place = FilesAtHost(build.spec.provider, build.repo_url, build.resolved_ref, files, pythons)
        return _redacted(explainer.explain(Failure(reason, place, build.phase), finder))

    async def _search(self, build_id: str, finder: Finder) -> None:
        after = 0
        while not finder.done:
            events = await self._store.fetch_events(build_id, after=after, limit=_PAGE)
            if not events:
                return
            lines = [(event.seq, event.message) for event in events]
            await asyncio.to_thread(finder.read, lines)
            after = events[-1].seq
            if after == _MAX_LINES // 2:
                stored = await self._store.fetch_build(build_id)
                after = max(after, (stored.lines if stored else 0) - _MAX_LINES // 2)


def _read_files(recipe: Recipe, checkout: Path) -> tuple[RecipeText, ...]:
    """Read the configuration files that were used, within the limits of a recipe."""
    source = Checkout(checkout)
    used = [file.path for file in recipe.files if file.used][:_MAX_FILES]
    texts = ((path, source.read(path)) for path in used)
    return tuple(RecipeText(path, text or "") for path, text in texts)


def _redacted(reason: Reason) -> Reason:
    """Hide secrets that a tool printed, in what is quoted."""
    hide = redactor.redact
    explanation = reason.explanation
    if explanation is not None:
        ways = tuple(replace(way, label=way.label.map(hide)) for way in explanation.ways)
        explanation = replace(explanation, line=hide(explanation.line), ways=ways)
    message = Message.verbatim(reason.message).map(hide)
    return replace(reason, message=message, explanation=explanation)
