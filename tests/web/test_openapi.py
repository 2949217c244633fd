"""The description holds, and is of these handlers."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import validate

from jupyterhub_binder.web.adminschemas import ADMIN_EXAMPLES
from jupyterhub_binder.web.api import ID, ROUTES
from jupyterhub_binder.web.examples import EXAMPLES
from tests.web.api_client import DESCRIPTION, check_schema

METHODS = ("get", "head", "post", "put", "patch", "delete")


def test_the_description_is_valid_openapi() -> None:
    validate(DESCRIPTION)


def test_every_route_is_described_and_nothing_else() -> None:
    routed = set()
    for pattern, handler in ROUTES:
        path = "/" + pattern.replace(ID, "{}").replace(r"\.", ".")
        for method in METHODS:
            if any(
                method in base.__dict__
                for base in handler.__mro__
                if "jupyterhub_binder" in base.__module__
            ):
                routed.add((method, path))
    described = {
        (method, re.sub(r"\{\w+\}", "{}", path))
        for path, item in DESCRIPTION["paths"].items()
        for method in item
    }
    assert routed == described


@pytest.mark.parametrize("name", [*EXAMPLES, *ADMIN_EXAMPLES])
def test_every_example_fits_its_schema(name: str) -> None:
    check_schema(name, {**EXAMPLES, **ADMIN_EXAMPLES}[name])


async def test_the_service_serves_the_description(ada) -> None:
    answer = await ada("GET", "api/v1/openapi.json")
    assert answer.json == DESCRIPTION
