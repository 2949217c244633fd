"""A service without its web, for these tests."""

from tests.kit.parts import make_service, service  # noqa: F401
