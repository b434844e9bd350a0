# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that are reached without the proxy (``NO_PROXY``)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ..oci.decimal import parse_decimal

_PORTS = {"http": 80, "https": 443}
_UNBRACKETED = re.compile(r"^\[([^\]]*)\](?=/|$)")
_SEPARATORS = re.compile(r"[\s,]+")
_ENTRY = re.compile(r"(?:\w+://)?(?:[^/@]*@)?(?P<host>\[[^\]]*\]|[^/:]*)(?::(?P<port>\d{0,5}))?(?:/.*)?")
"""A host as in a URL, with a port or without. An IPv6 address with a port has brackets."""


def bypasses_proxy(url: str, no_proxy: str | None) -> bool:
    """Return whether a server is reached without the proxy.

    Args:
        url: An absolute URL of the server.
        no_proxy: Hosts, domains, addresses and CIDR ranges, separated by commas or whitespace. No standard defines
            the notation; this accepts those of curl, Go and requests. A domain includes its subdomains, with or without
            a leading dot. ``*`` stands for any characters. An entry with a port applies to that port only. Of a URL,
            only host and port are used. Host names are not resolved.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".")
    return any(_matches(entry.lower(), host, port) for entry in _SEPARATORS.split(no_proxy or "") if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    address = _address(host)
    network = _network(entry)
    if network is not None:
        return address is not None and address in network
    found = _ENTRY.fullmatch(entry)
    if found is None or (found["port"] and parse_decimal(found["port"]) != port):
        return False
    name = found["host"].rstrip(".")
    if address is not None and "*" not in name:
        return address == _address(name)
    if "*" in name:
        return re.fullmatch(re.escape(name).replace(r"\*", ".*"), host) is not None
    domain = name.lstrip(".")
    return bool(domain) and f".{host}".endswith(f".{domain}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_UNBRACKETED.sub(r"\1", host))
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the range of an entry such as ``10.0.0.0/8`` or ``fd00::1``; None for a host, a URL or a port."""
    try:
        return ipaddress.ip_network(_UNBRACKETED.sub(r"\1", entry), strict=False)
    except ValueError:
        return None
