"""What writes the reference pages."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from tests.kit.docs import DOCS


@pytest.fixture(scope="session")
def docs_reference() -> ModuleType:
    """Return the module that makes pages of the code."""
    spec = importlib.util.spec_from_file_location("reference", DOCS / "_ext" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
