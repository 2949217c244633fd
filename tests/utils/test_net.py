"""Where a request came from: what proxies said, and nothing that was made up."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from jupyterhub_binder.utils.net import asked_host, asked_origin, client_ip, forwarded_ip


@pytest.mark.parametrize(
    ("headers", "trusted", "expected"),
    [
        (["203.0.113.7"], (), "203.0.113.7"),
        (["1.1.1.1, 203.0.113.7"], (), "203.0.113.7"),
        (["1.1.1.1", "203.0.113.7"], (), "203.0.113.7"),
        (["1.1.1.1, 203.0.113.7, 10.0.0.1"], ("10.0.0.1",), "203.0.113.7"),
        (["10.0.0.1"], ("10.0.0.1",), "10.0.0.1"),
        (["1.1.1.1, nonsense, 10.0.0.1"], ("10.0.0.1",), "10.0.0.1"),
        (["2001:DB8::0:1"], (), "2001:db8::1"),
        (["$(reboot)"], (), ""),
        ([""], (), ""),
        ([], (), ""),
    ],
)
def test_only_what_a_trusted_proxy_added_counts(headers, trusted, expected) -> None:
    assert forwarded_ip(headers, trusted) == expected


class Context:
    """What tornado's server knows of a connection."""

    def __init__(self, peer: str, trusted: tuple[str, ...] = ()) -> None:
        self.address = (peer, 4711)
        self.trusted_downstream = set(trusted)
        self.remote_ip = peer
        self.protocol = "http"


class Connection:
    def __init__(self, context: Context) -> None:
        self.context = context


def request(peer: str, headers: dict[str, str], trusted: tuple[str, ...] = ()) -> HTTPServerRequest:
    connection = Connection(Context(peer, trusted))
    return HTTPServerRequest(
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "hub.example.org", **headers}),
        connection=connection,  # type: ignore[arg-type]
    )


def test_without_a_proxy_it_is_who_connected() -> None:
    assert client_ip(request("198.51.100.4", {})) == "198.51.100.4"


def test_a_real_ip_header_is_not_believed() -> None:
    assert client_ip(request("127.0.0.1", {"X-Real-Ip": "1.1.1.1"})) == "127.0.0.1"


def test_the_servers_trusted_proxies_are_passed_over() -> None:
    headers = {"X-Forwarded-For": "203.0.113.7, 10.0.0.1"}
    assert client_ip(request("127.0.0.1", headers, ("10.0.0.1",))) == "203.0.113.7"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://blog.example.org"}, "https://blog.example.org"),
        ({"Origin": "null"}, "null"),
        ({"Origin": "https://blog.example.org/<b>"}, ""),
        ({"Sec-Fetch-Site": "same-origin"}, "same-origin"),
        ({"Sec-Fetch-Site": "anything"}, ""),
        ({}, ""),
    ],
)
def test_the_origin_of_a_request_is_reported_only_if_it_is_one(headers, expected) -> None:
    named = HTTPHeaders({"Host": "a:80", **headers})
    line = RequestStartLine("POST", "/", "HTTP/1.1")
    request = HTTPServerRequest(start_line=line, headers=named)
    assert asked_origin(request) == expected
    assert asked_host(request) == "a:80"
    request.host = "a b"
    assert asked_host(request) == ""
