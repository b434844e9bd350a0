# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The notations of ``NO_PROXY``, for the API server and for upstream registries."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.no_proxy import bypasses_proxy

API = "https://api.example.com:6443/k8s"
REGISTRY = "https://registry.corp.example.com/v2/"
V4 = "https://10.1.2.3:6443"
V6 = "https://[fd00:1::5]:6443"


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (API, "example.com"),
        (API, ".example.com"),
        (API, "API.EXAMPLE.COM"),
        (API, "api.example.com."),
        (API, "api.example.com:6443"),
        (API, "other.com,,api.example.com"),
        (API, ".example.com:6443"),
        (API, "*"),
        (API, "other.com, *"),
        (REGISTRY, "*.corp.example.com"),
        (REGISTRY, "*.EXAMPLE.com"),
        (REGISTRY, "registry.*"),
        (REGISTRY, "registry.*.com"),
        (REGISTRY, "*registry*"),
        (REGISTRY, "*.corp.example.com:443"),
        (REGISTRY, "registry.corp.example.com:443"),
        (REGISTRY, "localhost registry.corp.example.com"),
        (REGISTRY, "localhost\t127.0.0.1\nregistry.corp.example.com\r\n"),
        (REGISTRY, "localhost ,  .corp.example.com , other"),
        (REGISTRY, "https://registry.corp.example.com"),
        (REGISTRY, "http://registry.corp.example.com/v2/"),
        (REGISTRY, "https://user:password@registry.corp.example.com:443/"),
        (REGISTRY, "https://*.corp.example.com"),
        ("http://registry.corp.example.com", "registry.corp.example.com:80"),
        ("http://REGISTRY.corp.example.com.:5000", ".Corp.Example.Com"),
        (V4, "10.1.2.3"),
        (V4, "10.1.2.3:6443"),
        (V4, "10.0.0.0/8"),
        (V4, "10.1.2.3/8"),
        (V4, "10.0.0.0/255.0.0.0"),
        (V4, "10.1.*"),
        (V4, "https://10.1.2.3:6443"),
        (V6, "fd00:1::5"),
        (V6, "FD00:0001:0::5"),
        (V6, "[fd00:1::5]"),
        (V6, "[fd00:1::5]:6443"),
        (V6, "fd00::/8"),
        (V6, "[fd00::]/8"),
        (V6, "https://[fd00:1::5]/"),
        ("https://[::1]:5000", "localhost ::1"),
    ],
)
def test_no_proxy_bypasses_proxy_for_matching_host(url: str, no_proxy: str) -> None:
    assert bypasses_proxy(url, no_proxy)


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (API, "ample.com"),
        (API, "api.example.com:80"),
        (API, "*.example.com:80"),
        (API, "https://api.example.com:443"),
        (API, "10.0.0.0/8"),
        (API, "fd00::/8"),
        (API, "api"),
        (API, "com.example"),
        (API, "registry.*"),
        (API, "*.api.example.com"),
        (API, ""),
        (API, " , "),
        (API, "."),
        (API, "://"),
        (API, "]["),
        (API, "api.example.com:99999999999"),
        (API, None),
        (REGISTRY, "*.example.org"),
        (REGISTRY, "corp.*"),
        (V4, "10.1.2.3:443"),
        (V4, "10.1.2"),
        (V4, "1.2.3"),
        (V4, "2.3"),
        (V4, "1.*"),
        (V4, "192.168.0.0/16"),
        (V4, "::/0"),
        (V6, "[fd00:1::5]:443"),
        (V6, "::5"),
        (V6, "fe80::/10"),
        ("https://[::1:5000]:443", "[::1]:5000"),
        ("https://[", "*"),
    ],
)
def test_no_proxy_keeps_proxy_for_other_host(url: str, no_proxy: str | None) -> None:
    assert not bypasses_proxy(url, no_proxy)
