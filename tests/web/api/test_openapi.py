"""The description holds, and is of these handlers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import make_dataclass

import pytest
from openapi_spec_validator import validate

from jupyterhub_binder.web.api.openapi.document import describe, refuse_shared_names
from jupyterhub_binder.web.api.openapi.examples import EXAMPLES
from jupyterhub_binder.web.api.routes import ID, ROUTES
from jupyterhub_binder.web.api.service import OPENAPI
from tests.kit.api_client import DESCRIPTION, check_schema

METHODS = ("get", "head", "post", "put", "patch", "delete")


def test_the_description_is_that_of_the_code() -> None:
    made = json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"
    assert OPENAPI.read_text() == made, "make openapi"


def test_the_service_imports_nothing_slow_that_few_need() -> None:
    command = (
        "import sys, jupyterhub_binder.app; print({'pydantic', 'jsonschema'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


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


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_fits_its_schema(name: str) -> None:
    check_schema(name, EXAMPLES[name])


async def test_the_service_serves_the_description(ada) -> None:
    answer = await ada("GET", "api/v1/openapi.json")
    assert answer.json == DESCRIPTION


def test_two_shapes_of_one_name_are_refused():
    first, second = (make_dataclass("ThingJSON", [(name, int)]) for name in ("a", "b"))
    refuse_shared_names([first, first])
    with pytest.raises(ValueError, match="would share the schema Thing"):
        refuse_shared_names([first, second])


def test_a_part_with_the_name_of_another_shape_is_refused():
    part, shape = (make_dataclass("ThingJSON", [(name, int)]) for name in ("a", "b"))
    whole = make_dataclass("WholeJSON", [("part", part | None)])
    with pytest.raises(ValueError, match="would share the schema Thing"):
        refuse_shared_names([whole, shape])
