"""A running service in this process, for these tests."""

from tests.kit.service import (  # noqa: F401
    ada,
    bobs_browser,
    git_repo,
    hub,
    new_environment,
    person,
    service,
    service_url,
    session,
)
