"""A gallery that was made up, for the canned pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from tornado.web import RequestHandler

from jupyterhub_binder.environments.gallery import FeaturedEnvironment
from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.featured import GalleryEntry
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from tests.kit.pictures import png

NOW = datetime.now(UTC)


class CannedGallery:
    """Stands for the gallery."""

    def __init__(self, found: tuple[FeaturedEnvironment, ...]) -> None:
        self._found = found

    async def list(self, user: Any) -> tuple[FeaturedEnvironment, ...]:
        return self._found

    async def find(self, environment: Environment) -> GalleryEntry | None:
        entries = {each.environment.id: each.entry for each in self._found}
        return entries.get(environment.id)


def feature(environments: Iterable[Environment], *texts: str) -> tuple[FeaturedEnvironment, ...]:
    """Feature environments with texts in turn; every second one has a picture."""
    return tuple(
        FeaturedEnvironment(
            GalleryEntry(
                each.id,
                Subject(SubjectKind.EVERYONE),
                NOW,
                "root",
                paragraph=text,
                picture="a1" if number % 2 == 0 else "",
            ),
            replace(each, right=Right.LAUNCH),
        )
        for number, (each, text) in enumerate(zip(environments, cycle(texts)))
    )


class PictureOf(RequestHandler):
    """Stands for the pictures of READMEs."""

    def get(self, environment_id: str) -> None:
        self.set_header("Content-Type", "image/png")
        self.finish(png(320, 140, "2f6f8f" if environment_id.endswith("1") else "c98b2e"))
