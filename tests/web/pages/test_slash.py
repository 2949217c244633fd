"""Addresses of pages that were typed with a slash at the end."""

from __future__ import annotations

import pytest
from yarl import URL


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("typed", "page"),
    [
        ("admin/", "admin"),
        ("admin/rules/?search=a%20b&search=c", "admin/rules?search=a%20b&search=c"),
        ("environments/abc/launch//", "environments/abc/launch"),
        ("/", ""),
        ("//evil.example/", "evil.example"),
        ("/%2Fevil.example/", "%2Fevil.example"),
        ("\\evil.example/", "\\evil.example"),
    ],
)
async def test_a_slash_at_the_end_leads_to_the_page_without_it(
    session, service_url: str, method: str, typed: str, page: str
) -> None:
    url = URL(f"{service_url}{typed}", encoded=True)
    async with session.request(method, url, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"{URL(service_url).path}{page}"


@pytest.mark.parametrize("path", ["api/v1/environments/", "health/", "versions/", "hooks/"])
async def test_no_route_of_a_program_redirects(session, service_url: str, path: str) -> None:
    async with session.get(f"{service_url}{path}", allow_redirects=False) as response:
        assert response.status in (404, 405)


async def test_what_is_sent_to_an_address_with_a_slash_goes_nowhere_else(
    session, service_url: str
) -> None:
    url = f"{service_url}admin/rules/"
    async with session.post(url, data={"pattern": "x"}, allow_redirects=False) as response:
        assert response.status == 401
