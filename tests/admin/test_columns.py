"""The columns of administrators' tables are fields of the REST API's answers."""

from __future__ import annotations

import dataclasses

import pytest

from jupyterhub_binder.admin import columns
from jupyterhub_binder.model.admin import LimitName, PersonUse
from jupyterhub_binder.web.api import shapes, shapes_admin


@pytest.mark.parametrize(
    ("table", "shape"),
    [
        (columns.USE, PersonUse),
        (columns.QUEUE, shapes.BuildJSON),
        (columns.ENVIRONMENTS, shapes.EnvironmentJSON),
        (columns.RULES, shapes_admin.RuleJSON),
        (columns.HOSTS, shapes.HostJSON),
        (columns.AUDIT, shapes_admin.AuditEntryJSON),
        (columns.LIMITS, shapes_admin.LimitValuesJSON),
    ],
)
def test_every_column_is_a_field_of_the_answer(table, shape) -> None:
    assert {column.name for column in table} <= {each.name for each in dataclasses.fields(shape)}


def test_every_limit_has_a_column() -> None:
    assert [column.name for column in columns.LIMITS] == list(LimitName)
