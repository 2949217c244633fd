"""A real hub in this process, for these tests."""

from tests.kit.real_hub import fresh, homes, hub, person, root, service  # noqa: F401
