# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints, upstreams and certificates of a mirror."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import (
    Mirror,
    validated_exclude,
    validated_upstreams,
)


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "10.0.0.1:5001", "http://", "http://:5001", "http://a b", 'http://a"b', "http://a/path"),
        *("http://a:", "http://a:0", "http://a:99999", "http://a:b", "http://fd00::1", "http://fd00::1:5001"),
        *("http://[fd00::1", "http://[fd00::1]5001", "http://[fd00::1::2]:5001", "http://[fe80::1%eth0]:5001"),
        *("http://[registry]:5001", "http://[]:5001"),
    ],
)
def test_mirror_rejects_endpoint_that_is_not_url_of_registry(endpoint: str) -> None:
    with pytest.raises(InputError, match="not the URL of a registry"):
        Mirror.from_endpoint(endpoint, qualify=False, fallback=True)


def test_mirror_rejects_certificate_authority_without_tls() -> None:
    with pytest.raises(InputError, match="without TLS"):
        Mirror.from_endpoint("http://10.0.0.1:5001", qualify=False, fallback=True, ca_cert="/etc/ssl/ca.pem")


@pytest.mark.parametrize("endpoint", ["http://[fd00::1]", "https://[fd00::1]:5001", "http://[::ffff:10.0.0.1]:5001"])
def test_mirror_has_address_of_ipv6_endpoint(endpoint: str) -> None:
    mirror = Mirror.from_endpoint(f"{endpoint}/", qualify=False, fallback=True)

    assert mirror.url == endpoint


@pytest.mark.parametrize(
    "upstream",
    ["", "..", "../docker.io", "docker.io/library", "_default", "a:b", "-", "a:99999", "fd00::1", "[fd00::1::2]:5000"],
)
def test_upstreams_that_are_not_hosts_are_rejected(upstream: str) -> None:
    with pytest.raises(InputError, match="not the name of a registry"):
        validated_upstreams([upstream])


def test_upstreams_have_no_duplicates() -> None:
    assert validated_upstreams(["docker.io", "*", "docker.io"]) == ("docker.io", "*")


@pytest.mark.parametrize("timeout", ["2s", "200ms", "1m", "010s"])
def test_mirror_has_dial_timeout(timeout: str) -> None:
    mirror = Mirror.from_endpoint("http://10.0.0.1:5001", qualify=False, fallback=True, dial_timeout=timeout)

    assert mirror.dial_timeout == timeout


@pytest.mark.parametrize("timeout", ["2", "s", "0s", "-1s", "2h", "1m30s", "2s\n", "2 s", '2s"', "9999999s"])
def test_mirror_rejects_dial_timeout_that_is_not_duration(timeout: str) -> None:
    with pytest.raises(InputError, match="is not a duration"):
        Mirror.from_endpoint("http://10.0.0.1:5001", qualify=False, fallback=True, dial_timeout=timeout)


def test_exclude_has_no_duplicates() -> None:
    assert validated_exclude(["registry.k8s.io", "quay.io", "registry.k8s.io"], ["*"]) == ("registry.k8s.io", "quay.io")


@pytest.mark.parametrize("entry", ["registry.k8s.io/pause", "*", "", "..", "https://quay.io"])
def test_exclude_rejects_entry_that_is_not_host(entry: str) -> None:
    with pytest.raises(InputError, match="not the name of a registry") as error:
        validated_exclude([entry], ["*"])

    assert "preload_node_critical" in str(error.value)


def test_exclude_rejects_registry_of_upstreams() -> None:
    with pytest.raises(InputError, match=r"quay\.io is in upstreams and in exclude"):
        validated_exclude(["quay.io"], ["*", "quay.io"])
