# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to the API server through an HTTP or SOCKS proxy, and without it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, UnreachableError
from unit.plugins.module_utils.transport.servers import Proxy, Server, SocksProxy

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Kubeconfig, Start


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def socks_proxy() -> Iterator[SocksProxy]:
    """A SOCKS proxy."""
    proxy = SocksProxy()
    yield proxy
    proxy.stop()


def test_request_goes_through_proxy(ask: Ask, api_server: Server, options: dict[str, Any], proxy: Proxy) -> None:
    response = ask({**options, "proxy": proxy.url})

    assert response.text == "ok"
    assert proxy.received == [f"CONNECT {api_server.address} HTTP/1.1"]


def test_proxy_is_read_from_kubeconfig(ask: Ask, kubeconfig: Kubeconfig, proxy: Proxy) -> None:
    ask({"kubeconfig": kubeconfig({"token": "t"}, **{"proxy-url": proxy.url})})

    assert len(proxy.received) == 1


def test_proxy_option_precedes_kubeconfig(ask: Ask, kubeconfig: Kubeconfig, proxy: Proxy) -> None:
    content = kubeconfig({"token": "t"}, **{"proxy-url": "http://127.0.0.1:1"})

    ask({"kubeconfig": content, "proxy": proxy.url})

    assert len(proxy.received) == 1


def test_proxy_receives_its_credentials_and_not_those_of_cluster(
    ask: Ask, options: dict[str, Any], proxy: Proxy
) -> None:
    headers = {"proxy_basic_auth": "me:secret", "user_agent": "k8scr"}

    ask({**options, "proxy": proxy.url, "proxy_headers": headers})

    (headers_of_request,) = proxy.headers
    assert (headers_of_request["Proxy-Authorization"], headers_of_request["User-Agent"]) == (
        basic("me", "secret"),
        "k8scr",
    )
    assert headers_of_request["Authorization"] is None


def test_server_does_not_receive_credentials_of_proxy(
    ask: Ask, api_server: Server, options: dict[str, Any], proxy: Proxy
) -> None:
    ask({**options, "proxy": proxy.url, "proxy_headers": {"proxy_basic_auth": "me:secret"}})

    assert api_server.requests[0].headers["Proxy-Authorization"] is None


def test_user_and_password_are_read_from_url_of_proxy(ask: Ask, options: dict[str, Any], proxy: Proxy) -> None:
    ask({**options, "proxy": proxy.url.replace("//", "//me:p%40ss@")})

    assert proxy.headers[0]["Proxy-Authorization"] == basic("me", "p@ss")


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "example.com, 127.0.0.0/8", "example.com 127.0.0.*"])
def test_no_proxy_host_is_reached_without_proxy(ask: Ask, options: dict[str, Any], proxy: Proxy, no_proxy: str) -> None:
    ask({**options, "proxy": proxy.url, "no_proxy": no_proxy})

    assert proxy.received == []


def test_request_to_proxy_has_absolute_url_without_tls(
    ask: Ask, start: Start, options: dict[str, Any], proxy: Proxy
) -> None:
    server = start(None)

    ask({**options, "host": server.url, "proxy": proxy.url})

    assert proxy.received == [f"GET {server.url}/version HTTP/1.1"]


def test_error_of_proxy_hides_password(ask: Ask, options: dict[str, Any], proxy: Proxy) -> None:
    proxy.error_status = 407

    with pytest.raises(UnreachableError, match=r"cannot connect to .* through the proxy: .*407") as caught:
        ask({**options, "proxy": proxy.url.replace("//", "//me:canary@")})

    assert "canary" not in str(caught.value)


def test_error_about_unreachable_proxy_hides_password(ask: Ask, options: dict[str, Any]) -> None:
    with pytest.raises(UnreachableError, match=r"cannot connect to .* through the proxy: connection refused") as caught:
        ask({**options, "proxy": "http://me:canary@127.0.0.1:1"})

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("proxy_url", ["ftp://proxy", "proxy.example.com:3128", "http://"])
def test_invalid_proxy_is_rejected(ask: Ask, options: dict[str, Any], proxy_url: str) -> None:
    with pytest.raises(ClusterError, match="the proxy is not the URL of an HTTP or SOCKS proxy"):
        ask({**options, "proxy": proxy_url})


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_request_goes_through_socks_proxy(
    ask: Ask, api_server: Server, options: dict[str, Any], socks_proxy: SocksProxy, scheme: str
) -> None:
    response = ask({**options, "proxy": f"{scheme}://{socks_proxy.address}"})

    assert response.text == "ok"
    assert socks_proxy.received == [api_server.address]


def test_error_of_socks_proxy_hides_password(ask: Ask, options: dict[str, Any], socks_proxy: SocksProxy) -> None:
    socks_proxy.error_status = 2

    with pytest.raises(UnreachableError, match=r"cannot connect to .* through the proxy: .*not allowed") as caught:
        ask({**options, "proxy": f"socks5://me:canary@{socks_proxy.address}"})

    assert "canary" not in str(caught.value)


def test_error_about_unreachable_socks_proxy_hides_password(ask: Ask, options: dict[str, Any]) -> None:
    with pytest.raises(UnreachableError, match=r"cannot connect to .* through the proxy: connection refused") as caught:
        ask({**options, "proxy": "socks5://me:canary@127.0.0.1:1"})

    assert "canary" not in str(caught.value)
