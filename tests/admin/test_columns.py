"""The columns of administrators' tables are fields of the REST API's answers."""

from __future__ import annotations

import dataclasses

import pytest

from jupyterhub_binder.admin import columns
from jupyterhub_binder.model.admin import LimitName, PersonUse
from jupyterhub_binder.web.api.shapes import admin as admin_shapes
from jupyterhub_binder.web.api.shapes import backends, builds, environments


@pytest.mark.parametrize(
    ("table", "shape"),
    [
        (columns.USE, PersonUse),
        (columns.QUEUE, builds.BuildJSON),
        (columns.ENVIRONMENTS, environments.EnvironmentJSON),
        (columns.RULES, admin_shapes.RuleJSON),
        (columns.HOSTS, backends.HostJSON),
        (columns.AUDIT, admin_shapes.AuditEntryJSON),
        (columns.LIMITS, admin_shapes.LimitValuesJSON),
    ],
)
def test_every_column_is_a_field_of_the_answer(table, shape) -> None:
    assert {column.name for column in table} <= {each.name for each in dataclasses.fields(shape)}


def test_every_limit_has_a_column() -> None:
    assert [column.name for column in columns.LIMITS] == list(LimitName)
