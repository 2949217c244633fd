"""Says which profiles the hub offers a person, so that the service's pages can offer them too.

Only the hub knows: `KubeSpawner.profile_list` may be a function that asks who the person is. So the
service doesn't repeat the list in its own configuration. It asks here with the person's own token,
and gets what the hub's spawn page shows that person: names and descriptions, never what a profile
sets. Nothing depends on the answer being right: KubeSpawner checks a choice again at the start.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from jupyterhub_binder.model.profiles import PROFILES_PATH, Profile, ProfileOption
from jupyterhub_binder.spawner.form import OPTION, PATH_OPTION, RECORDED, REPOSITORY_OPTION
from jupyterhub_binder.utils.text import one_line
from jupyterhub_binder.utils.wire import to_json

ROUTE = rf"/api/users/([^/]+)/{PROFILES_PATH}"

_OURS = frozenset({"profile", OPTION, PATH_OPTION, REPOSITORY_OPTION, *RECORDED})
"""Names that an option of a profile can't have beside ours."""
_MAX_PROFILES = 100
_MAX_NAME = 200
_MAX_DESCRIPTION = 500


class ProfilesHandler(APIHandler):
    """``GET /hub/api/users/<name>/binder-profiles``, for the person and for nobody else's token."""

    @needs_scope("read:servers")
    async def get(self, user_name: str) -> None:
        """Answer as the hub's spawn page would."""
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        spawner = user.spawners[""]
        offered: tuple[Profile, ...] = ()
        if hasattr(spawner, "offered_profiles"):
            if not spawner.active:  # as the spawn page does; a profile may depend on it
                await spawner.run_auth_state_hook(await user.get_auth_state())
            offered = await spawner.offered_profiles()
        self.finish(json.dumps({"profiles": to_json(offered)}))


def describe_profiles(profiles: Iterable[Mapping[str, Any]]) -> tuple[Profile, ...]:
    """Describe KubeSpawner's profiles, which it has filled with slugs and defaults.

    Left out are options that only choose an image, as the environment brings its own, and profiles
    that can't start without a text that somebody types.
    """
    found = []
    for each in profiles:
        options = tuple(_options(each.get("profile_options") or {}))
        if all(option.choices for option in options):
            found.append(
                Profile(
                    slug=str(each["slug"]),
                    name=_text(each["display_name"], _MAX_NAME),
                    description=_text(each.get("description"), _MAX_DESCRIPTION),
                    default=bool(each.get("default")),
                    options=options,
                )
            )
    return tuple(found[:_MAX_PROFILES])


def _options(options: Mapping[str, Mapping[str, Any]]) -> Iterable[ProfileOption]:
    for name, option in options.items():
        choices: Mapping[str, Mapping[str, Any]] = option.get("choices") or {}
        if name in _OURS or (choices and _only_images(choices.values())):
            continue
        labels = {
            str(value): _text(choice.get("display_name", value), _MAX_NAME)
            for value, choice in choices.items()
        }
        default = next((str(v) for v, choice in choices.items() if choice.get("default")), "")
        label = _text(option.get("display_name", name), _MAX_NAME)
        yield ProfileOption(str(name), label, labels, default)


def _only_images(choices: Iterable[Mapping[str, Any]]) -> bool:
    return all(set(each.get("kubespawner_override") or {}) <= {"image"} for each in choices)


def _text(value: object, most: int) -> str:
    """Return plain text: a description may be HTML, for the hub's own page."""
    text = html.unescape(re.sub(r"<[^>]*>", " ", str(value or "")))
    return one_line(text)[:most]
