"""Keeps what the configuration features: environments of the hub itself, built and up to date.

It also reads the README of whatever is featured. Hosts that do not answer are asked again later;
nothing here stops the service once it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from traitlets import Float, List
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.gallery import Gallery, clean_text
from jupyterhub_binder.environments.launch_specs import LaunchSpecs
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.environments.sharing import read_subject
from jupyterhub_binder.errors import BinderError, ConfigurationError, InvalidInput, LimitReached
from jupyterhub_binder.model import Build, Environment, Link, UpdateMode, User
from jupyterhub_binder.model.featured import HUB_OWNER, GalleryEntry
from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.model.sharing import Subject, SubjectKind
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.peeks import README
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.readme import read_about
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.featured import StoredPicture, checksum_of
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import clean_name

_HUB = User(HUB_OWNER)
_FAILED_AGAIN = timedelta(days=1)
"""When a first build that failed is tried again, if its commit is still the newest."""

_KEYS = ("url", "name", "text", "group")


@dataclass(frozen=True, slots=True)
class ConfiguredLink:
    """An item of the configuration."""

    text: str
    """The link as it is written."""
    link: Link
    subject: Subject
    name: str = ""
    """Empty for the repository's."""
    written: str = ""


class Featured(LoggingConfigurable):
    """Keeps what the configuration features."""

    environments = List(
        help="""
        Links to repositories whose environments everybody finds above the list of environments, so
        that a new hub or course starts with something there. Default: none.

        Write each link as people paste it. The service builds these environments itself, in this
        order, and updates them when a branch has a newer commit. Everybody launches them with their
        own home folder. The page shows the first paragraph of the README and its first picture, if
        the picture is a file of the repository. For another name or text, or to feature an
        environment for one group of the hub only, write a dictionary instead of the link::

            c.Featured.environments = [
                "https://github.com/binder-examples/requirements",
                {
                    "url": "https://gitlab.com/astro/course/-/tree/2026",
                    "name": "Astronomy 101",
                    "text": "The notebooks of the course, with the telescope's data.",
                    "group": "astro-101",
                },
            ]

        A link that is not understood stops the start. A host that does not answer is asked again
        later. When a link is removed from the list, its environment is deleted.
        """
    ).tag(config=True)

    check_seconds = Float(
        600,
        min=1,
        help="""
        How often the service checks that the environments of the configuration exist and are built,
        in seconds. New commits are found as for other environments. Default: 600.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        gallery: Gallery,
        environments_service: Environments,
        launch_specs: LaunchSpecs,
        providers: Providers,
        fetcher: Fetcher,
        builds: Builds,
        rules: Rules,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments_service
        self._launch_specs = launch_specs
        self._providers = providers
        self._fetcher = fetcher
        self._rules = rules
        self._tasks = TaskSet(self.log)
        self._wake = asyncio.Event()
        self._said: dict[str, str] = {}
        """The last problem of each link or environment, which the log has once."""
        self._disconnect = (
            gallery.changed.connect(self._wake.set),
            builds.ended.connect(self._ended),
        )

    async def start(self) -> None:
        """Read the configuration, and begin to keep it. Raises ConfigurationError."""
        self._links = read_links(self.environments, self._providers)
        self._tasks.spawn(self._keep(), name="featured environments")

    async def stop(self) -> None:
        """Stop. Idempotent."""
        for disconnect in self._disconnect:
            disconnect()
        await self._tasks.close()

    def _ended(self, build: Build) -> None:
        self._wake.set()

    async def _keep(self) -> None:
        woken = False
        while True:
            self._wake.clear()
            await self.check(thorough=not woken)
            woken = False
            with suppress(TimeoutError):
                async with asyncio.timeout(self.check_seconds):
                    woken = await self._wake.wait()

    async def check(self, *, thorough: bool = True) -> None:
        """Bring everything to what the configuration says, as far as hosts and limits allow.

        Only if `thorough`, hosts are asked again after a failure, and the backend for images that a
        clean-up may have removed.
        """
        await self._remove_others()
        for position, item in enumerate(self._links):
            if thorough or item.text not in self._said:
                await self._try(item.text, self._keep_link(item, position, thorough=thorough))
        for entry in await self._store.list_featured():
            if thorough or entry.environment_id not in self._said:
                await self._try(entry.environment_id, self._read_about(entry))

    async def _try(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except LimitReached as error:  # the next build that ends makes room
            self.log.debug("Featured environment %s: %s", what, error.message)
        except BinderError as error:
            if self._said.get(what) != error.message:
                self.log.warning("Featured environment %s: %s", what, error.message)
            self._said[what] = str(error.message)
        except Exception:  # one of them must not end the work for all others
            self.log.exception("Featured environment %s", what)
        else:
            self._said.pop(what, None)

    # --- The environments of the configuration ------------------------------------------------------

    async def _remove_others(self) -> None:
        """End what the configuration no longer lists, and what it lists twice after an undo."""
        wanted = {item.text for item in self._links}
        for entry in await self._store.list_featured():
            if entry.link in wanted:
                wanted.remove(entry.link)
            elif entry.link:
                await self._try(entry.link, self._remove(entry))

    async def _remove(self, entry: GalleryEntry) -> None:
        await self._store.remove_featured(entry.environment_id)
        environment = await self._store.fetch_environment(entry.environment_id)
        if environment is not None and environment.owner == HUB_OWNER:
            await self._environments.delete(_HUB, environment.id)

    async def _keep_link(self, item: ConfiguredLink, position: int, *, thorough: bool) -> None:
        entries = {each.link: each for each in await self._store.list_featured() if each.link}
        entry = entries.get(item.text)
        if entry is None:
            environment = await self._make(item, {e.environment_id for e in entries.values()})
        else:
            environment = await self._keep_name(item, entry)
        wanted = GalleryEntry(
            environment.id,
            item.subject,
            utc_now(),
            HUB_OWNER,
            item.written,
            link=item.text,
            position=position,
        )
        if entry is None or _differs(entry, wanted):
            await self._store.put_featured(wanted)
        if environment.owner == HUB_OWNER:
            await self._keep_built(environment, thorough=thorough)

    async def _make(self, item: ConfiguredLink, taken: set[str]) -> Environment:
        environment = await self._environments.ensure(_HUB, item.link, build=False)
        if environment.id in taken:  # by an item that opens another file of the repository
            environment = await self._environments.create(_HUB, link=item.link, build=False)
        return await self._environments.update(
            _HUB, environment.id, name=item.name or None, updates=UpdateMode.AUTO
        )

    async def _keep_name(self, item: ConfiguredLink, entry: GalleryEntry) -> Environment:
        environment = await self._store.fetch_environment(entry.environment_id)
        assert environment is not None
        if environment.owner == HUB_OWNER and item.name not in ("", environment.name):
            return await self._environments.update(_HUB, environment.id, name=item.name)
        return environment

    async def _keep_built(self, environment: Environment, *, thorough: bool) -> None:
        """Build what has no image: never built, or removed by a clean-up."""
        latest = environment.latest
        if environment.current is not None:
            if thorough:
                await self._launch_specs.bring_back(_HUB, environment.id)
            return
        again = thorough and latest is not None and latest.build.state.finished
        if latest is None or (again and await self._is_due(environment)):
            await self._environments.build(_HUB, environment.id, cause=ChangeCause.BY_ITSELF)

    async def _is_due(self, environment: Environment) -> bool:
        """Say whether to try again after a failure: with a newer commit, or after a day."""
        latest = environment.latest
        assert latest is not None
        ended = latest.build.finished
        if ended is None or ended + _FAILED_AGAIN <= utc_now():
            return True
        resolved = await self._providers.resolve(environment.spec)
        return resolved.resolved_ref != latest.build.resolved_ref

    # --- READMEs ------------------------------------------------------------------------------------

    async def _read_about(self, entry: GalleryEntry) -> None:
        """Read the README at the commit that a launch uses, once."""
        environment = await self._store.fetch_environment(entry.environment_id)
        shown = (environment.current or environment.latest) if environment else None
        if shown is None or shown.build.resolved_ref == entry.read_ref:
            return
        if self._rules.judge(shown.build) is not None:  # the host of a refused one is not asked
            return
        async with self._fetcher.peek(shown.build.resolved, README) as peek:
            about = await asyncio.to_thread(read_about, peek.path)
        found = about.picture
        picture = None
        if found is not None:
            picture = StoredPicture(checksum_of(found.data), found.media_type, found.data)
        await self._store.put_about(
            entry.environment_id,
            read_ref=shown.build.resolved_ref,
            paragraph=about.paragraph,
            picture=picture,
        )


def _differs(entry: GalleryEntry, wanted: GalleryEntry) -> bool:
    return (entry.subject, entry.written, entry.position) != (
        wanted.subject,
        wanted.written,
        wanted.position,
    )


# --- The configuration --------------------------------------------------------------------------------


def read_links(items: list[Any], providers: Providers) -> tuple[ConfiguredLink, ...]:
    """Read the option's value. Raises ConfigurationError, which names the option."""
    links = tuple(_read_link(item, providers) for item in items)
    texts = [each.text for each in links]
    for text in texts:
        if texts.count(text) > 1:
            raise _wrong(text, "the link is there twice")
    return links


def _read_link(item: Any, providers: Providers) -> ConfiguredLink:
    fields = {"url": item} if isinstance(item, str) else item
    if not isinstance(fields, Mapping) or not all(
        isinstance(each, str) for each in fields.values()
    ):
        raise _wrong(item, "write a link, or a dictionary of texts")
    if unknown := [key for key in fields if key not in _KEYS]:
        raise _wrong(item, f"{unknown[0]!r} is no key of it. The keys are {', '.join(_KEYS)}")
    if not fields.get("url"):
        raise _wrong(item, "the url is missing")
    group = fields.get("group", "")
    try:
        return ConfiguredLink(
            text=fields["url"],
            link=providers.understand(fields["url"]),
            subject=read_subject(f"group:{group}") if group else Subject(SubjectKind.EVERYONE),
            name=clean_name(fields["name"]) if "name" in fields else "",
            written=clean_text(fields.get("text", "")),
        )
    except InvalidInput as error:
        raise _wrong(item, str(error.message).rstrip(".")) from error


def _wrong(item: Any, why: str) -> ConfigurationError:
    return ConfigurationError(f"Featured.environments: {item!r}: {why}.")
