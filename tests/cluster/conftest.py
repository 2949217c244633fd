"""A namespace with a small hub and the chart beside it; a person of that hub, logged in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import requires
from tests.kit.cluster import Cluster
from tests.kit.cluster_images import Images, build_images, find_docker, find_images
from tests.kit.cluster_site import Site, Visitor, open_namespace, open_site, open_visitor


@pytest.fixture(scope="session")
def images() -> Images:
    """Return the images of the pods."""
    if (named := find_images()) is not None:
        return named
    docker = find_docker()
    requires(docker, "images: a local Docker that serves the node, or their names (tests/cluster)")
    assert docker is not None
    return build_images(docker)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Make a namespace for a module's tests."""
    with open_namespace() as made:
        yield made


@pytest.fixture(scope="module")
def chart_values() -> dict[str, Any]:
    """Return what a module adds to the chart's values."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    cluster: Cluster, images: Images, chart_values: dict[str, Any]
) -> AsyncIterator[Site]:
    """Put up the hub, then the chart."""
    async with open_site(cluster, images, chart_values) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    """Log a person in, through the hub's proxy."""
    async with open_visitor(site) as made:
        yield made
