"""Routes of environments: the list, one of them, its builds, and which build counts."""

from __future__ import annotations

from typing import Any, Literal, cast

from jupyterhub_binder import model
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import (
    MOST_ADDRESS_CHARACTERS,
    MOST_NAME_CHARACTERS,
    MOST_PERSON_CHARACTERS,
    MOST_REF_CHARACTERS,
    MOST_SEARCH_CHARACTERS,
)
from jupyterhub_binder.model import ContentMode
from jupyterhub_binder.web.api.common import (
    LINK_KEYS,
    PAGE_LIMIT,
    Handler,
    builds_of,
    read_link,
)
from jupyterhub_binder.web.parse import (
    Fields,
    json_object,
    query_choice,
    query_integer,
    query_text,
    with_content,
)
from jupyterhub_binder.web.render import render_launch_spec

_CONTENT_KEYS = frozenset({"content", "content_url", "content_ref"})
_CREATE_KEYS = LINK_KEYS | _CONTENT_KEYS | {"name", "options", "build"}
_UPDATE_KEYS = _CONTENT_KEYS | {"name", "path"}


class Environments(Handler):
    """A person's environments."""

    async def get(self) -> None:
        """Answer with a page of the list, or of what was deleted and can be restored."""
        order = query_choice(self, "order", ("recent", "name"))
        page = await self.services.environments.list(
            self.me,
            search=query_text(self, "search", most=MOST_SEARCH_CHARACTERS),
            owner=query_text(self, "owner", most=MOST_PERSON_CHARACTERS) or None,
            order=cast('Literal["recent", "name"]', order),
            deleted=query_choice(self, "deleted", ("0", "1")) == "1",
            offset=query_integer(self, "offset", default=0),
            limit=query_integer(self, "limit", default=50, least=1, most=PAGE_LIMIT),
        )
        renderer = await self.renderer(builds_of(page.items))
        self.finish_json(renderer.environments(page))

    async def post(self) -> None:
        """Create an environment, and build it unless told not to."""
        fields = json_object(self.request, _CREATE_KEYS)
        environment = await self.services.environments.create(
            self.me,
            link=with_content(read_link(fields, self.services.providers), fields),
            name=_name(fields),
            content=fields.choice("content", ContentMode),
            options=fields.mapping("options"),
            build=fields.boolean("build", default=True),
        )
        await self.answer_environment(environment, status=201)


class OneEnvironment(Handler):
    """One environment."""

    async def get(self, environment_id: str) -> None:
        """Answer with it."""
        await self.answer_environment(await self.services.environments.get(self.me, environment_id))

    async def patch(self, environment_id: str) -> None:
        """Change its name, what it opens, or what happens to its files."""
        fields = json_object(self.request, _UPDATE_KEYS)
        changes: dict[str, Any] = {
            "name": _name(fields),
            "path": fields.path("path"),
            "content": fields.choice("content", ContentMode),
            "content_url": fields.text("content_url", most=MOST_ADDRESS_CHARACTERS),
            "content_ref": fields.text("content_ref", most=MOST_REF_CHARACTERS),
        }
        environment = await self.services.environments.update(self.me, environment_id, **changes)
        await self.answer_environment(environment)

    async def delete(self, environment_id: str) -> None:
        """Delete it; `restore` undoes that for a while."""
        await self.answer_environment(
            await self.services.environments.delete(self.me, environment_id)
        )


class Restore(Handler):
    """The undoing of a delete."""

    async def post(self, environment_id: str) -> None:
        """Bring a deleted environment back."""
        json_object(self.request, ())
        await self.answer_environment(
            await self.services.environments.restore(self.me, environment_id)
        )


class EnvironmentBuilds(Handler):
    """The builds of an environment, newest first."""

    async def get(self, environment_id: str) -> None:
        """Answer with a page of them."""
        page = await self.services.environments.history(
            self.me,
            environment_id,
            offset=query_integer(self, "offset", default=0),
            limit=query_integer(self, "limit", default=50, least=1, most=PAGE_LIMIT),
        )
        renderer = await self.renderer(request.build for request in page.items)
        self.finish_json(renderer.requests(page))

    async def post(self, environment_id: str) -> None:
        """Build again: at another ref, or the same from scratch."""
        fields = json_object(self.request, {"ref", "force"})
        environment = await self.services.environments.build(
            self.me,
            environment_id,
            ref=fields.text("ref", most=MOST_REF_CHARACTERS) or None,
            force=fields.boolean("force", default=False),
        )
        await self.answer_environment(environment, status=201)


class Current(Handler):
    """The build that a server starts from."""

    async def put(self, environment_id: str) -> None:
        """Choose an earlier build, or a later one again."""
        fields = json_object(self.request, {"number"})
        number = fields.integer("number", least=1)
        environment = await self.services.environments.choose(self.me, environment_id, number)
        await self.answer_environment(environment)


class LaunchSpec(Handler):
    """What the hub needs to start a server in an environment."""

    async def get(self, environment_id: str) -> None:
        """Answer to the hub, which asks in the person's name."""
        spec = await self.services.starts.launch_spec(self.me, environment_id)
        self._answer(spec, environment_id)

    async def post(self, environment_id: str) -> None:
        """Answer to the hub at the beginning of a start; have built what is not there."""
        json_object(self.request, ())
        spec = await self.services.starts.prepare_start(self.me, environment_id)
        self._answer(spec, environment_id)

    def _answer(self, spec: model.LaunchSpec, environment_id: str) -> None:
        server_name = self.get_query_argument("server_name", "")
        asked_from = self.services.launches.asked_from(self.me, environment_id, server_name)
        self.finish_json(render_launch_spec(spec, client_ip=asked_from))


def _name(fields: Fields) -> str | None:
    name = fields.text("name", most=MOST_NAME_CHARACTERS)
    if name == "":
        raise InvalidInput("'name' must not be empty.", detail={"field": "name"})
    return name
