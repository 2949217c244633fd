"""Routes of featured environments."""

from __future__ import annotations

from collections.abc import Iterable

from jupyterhub_binder.environments.gallery import FeaturedEnvironment
from jupyterhub_binder.environments.sharing import read_subject
from jupyterhub_binder.model.featured import GalleryEntry
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler
from jupyterhub_binder.web.api.common import Handler, builds_of
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import Renderer
from jupyterhub_binder.web.api.shapes import ListJSON
from jupyterhub_binder.web.api.shapes.featured import FeatureBody, FeaturedJSON, PictureQuery


class GalleryHandler(Handler):
    """What is featured for a person."""

    @operation("list_featured")
    async def get(self) -> ListJSON[FeaturedJSON]:
        """List the environments that administrators feature for you."""
        return await render_all(self, await self.services.gallery.list(self.me))


class PictureHandler(Handler):
    """The picture of a featured environment."""

    @operation("get_picture", media="image/*")
    async def get(self, environment_id: str, *, query: PictureQuery) -> None:
        """Get the picture of a featured environment: PNG, JPEG, GIF or WebP."""
        picture = await self.services.gallery.fetch_picture(self.me, environment_id)
        self.set_header("Content-Type", picture.media_type)
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        kept = "max-age=31536000, immutable" if query.v == picture.checksum else "no-cache"
        self.set_header("Cache-Control", f"private, {kept}")
        self.finish(picture.data)


class AllFeaturedHandler(AdminAPIHandler):
    """What is featured for anybody."""

    @operation("list_all_featured")
    async def get(self) -> ListJSON[FeaturedJSON]:
        """For admins: list the environments that are featured for everyone and for groups."""
        return await render_all(self, await self.services.gallery.list_all(self.me))


class FeatureHandler(AdminAPIHandler):
    """Features one environment."""

    @operation("feature_environment", errors=(409,))
    async def put(self, environment_id: str, *, body: FeatureBody) -> FeaturedJSON:
        """For admins: feature an environment, or change its text and who sees it.

        It is shared with these people, who may launch it. They find it above their list. What the
        configuration features can't be changed here.
        """
        subject = read_subject(body.subject)
        made = await self.services.gallery.put(self.me, environment_id, subject, body.text)
        return (await render_all(self, [made])).items[0]

    @operation("end_featured", errors=(409,))
    async def delete(self, environment_id: str) -> FeaturedJSON:
        """For admins: no longer feature an environment. A share that came with it ends too."""
        ended = await self.services.gallery.remove(self.me, environment_id)
        return (await render_all(self, [ended])).items[0]


async def render_all(
    handler: Handler, found: Iterable[FeaturedEnvironment]
) -> ListJSON[FeaturedJSON]:
    """Render featured environments."""
    found = tuple(found)
    seen = [each.environment for each in found]
    renderer = await handler.renderer(builds_of(seen), look_at=seen)
    return ListJSON(items=tuple(_render(renderer, each) for each in found))


def _render(renderer: Renderer, found: FeaturedEnvironment) -> FeaturedJSON:
    entry = found.entry
    return FeaturedJSON(
        environment=renderer.environment(found.environment),
        subject=str(entry.subject),
        text=entry.text,
        written=bool(entry.written),
        picture=address_of_picture(renderer.base_url, entry) or None,
        since=entry.since,
        by=None if entry.link else entry.by,
        link=entry.link or None,
    )


def address_of_picture(base_url: str, entry: GalleryEntry) -> str:
    """Return the picture's address, which changes with it; empty without one."""
    if not entry.picture:
        return ""
    return f"{base_url}api/v1/environments/{entry.environment_id}/picture?v={entry.picture}"
