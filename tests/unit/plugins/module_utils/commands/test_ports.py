# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports in all addresses that users write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.client import Engine
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.context import EngineEndpoint
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, InputError, K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror, validated_upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import (
    Endpoint,
    base_url,
    open_pool,
)
from unit.plugins.module_utils.support.settings import push_settings, upstreams_of

INVALID = ("0", "65536", "99999", "1" * 5000, "-1", "http", "\u0663")


def open_proxy(proxy: str) -> None:
    """Open the connections to an API server through a proxy."""
    open_pool(Endpoint("https://127.0.0.1:6443", proxy=proxy), 1, 1.0, 0)


def open_engine(host: str) -> None:
    """Read the address of an engine."""
    with closing(Engine(EngineEndpoint(host))):
        """The first request connects."""


ADDRESSES: dict[str, Callable[[str], object]] = {
    "image": lambda host: parse_reference(f"{host}/app:1"),
    "source": lambda host: push_settings(f"docker://{host}/app:1").sources.images[0].upstream,
    "upstream": lambda host: upstreams_of({"host": host}),
    "mirror of an upstream": lambda host: upstreams_of({"host": "a.example.com", "mirrors": [f"{host}/prefix"]}),
    "engine": lambda host: open_engine(f"tcp://{host}"),
    "engine through ssh": lambda host: open_engine(f"ssh://{host}"),
    "API server": lambda host: base_url(f"https://{host}"),
    "HTTP proxy": lambda host: open_proxy(f"http://{host}"),
    "SOCKS proxy": lambda host: open_proxy(f"socks5://{host}"),
    "endpoint of a node's mirror": lambda host: Mirror.from_endpoint(f"http://{host}", qualify=False, fallback=True),
    "upstream of a node's mirror": lambda host: validated_upstreams([host]),
}


@pytest.mark.parametrize("port", ["1", "65535"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_address_has_smallest_and_largest_port(address: str, host: str, port: str) -> None:
    ADDRESSES[address](f"{host}:{port}")


@pytest.mark.parametrize("port", INVALID)
@pytest.mark.parametrize("address", ADDRESSES)
def test_address_with_invalid_port_is_rejected(address: str, port: str) -> None:
    with pytest.raises((ClusterError, InputError), match=r"is not|in upstreams"):
        ADDRESSES[address](f"127.0.0.1:{port}")


@pytest.mark.parametrize("port", INVALID[1:])
def test_error_names_variable_of_proxy_with_invalid_port(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")

    with closing(Upstreams({}, retry_timeout=0.0)) as upstreams, pytest.raises(K8scrError) as caught:
        upstreams.open(parse_reference("registry.example.com/app:1"))

    assert caught.value.advice == "Check HTTPS_PROXY"
