# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mirror that nodes pull images from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InputError
from ..oci.reference import host_component, is_host

ALL_REGISTRIES = "*"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?|\[[0-9A-Fa-f:]+\](?::[0-9]+)?")
_ENDPOINT = re.compile(r"(https?)://([A-Za-z0-9\[][^/\s\"'\\@]*)")


@dataclass(frozen=True)
class Mirror:
    """A registry with the images of other registries.

    Attributes:
        scheme: ``http`` or ``https``.
        address: Host and port.
        qualify: Whether repositories in the mirror begin with the host of the image's name.
        fallback: Whether nodes pull missing images from the upstream.
        ca_cert: Path on the node of the certificate authorities to trust for the mirror; empty for those that the node
            trusts already.
    """

    scheme: str
    address: str
    qualify: bool
    fallback: bool
    ca_cert: str = ""

    @classmethod
    def from_endpoint(cls, endpoint: str, *, qualify: bool, fallback: bool, ca_cert: str = "") -> Mirror:
        """Return the mirror at a URL.

        Raises:
            InputError: The endpoint is not the URL of a registry, or ``ca_cert`` is set for ``http``.
        """
        match = _ENDPOINT.fullmatch(endpoint.rstrip("/"))
        if not match or not is_host(match[2]):
            raise InputError(
                f"endpoint {endpoint!r} is not the URL of a registry",
                "Write http:// or https://, a host and an optional port. An IPv6 address needs brackets, as in"
                " http://[fd00::1]:5001",
            )
        scheme, address = match.groups()
        if ca_cert and scheme == "http":
            raise InputError(f"ca_cert is set for the endpoint {endpoint!r} without TLS", "Omit ca_cert, or use https")
        return cls(scheme, address, qualify, fallback, ca_cert)

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"{self.scheme}://{self.address}"

    def repository_prefix(self, upstream: str) -> str:
        """Return the first component of an upstream's repositories in the mirror; empty without ``qualify``.

        Raises:
            InputError: The prefix depends on the upstream, and ``upstream`` stands for all registries.
        """
        if not self.qualify:
            return ""
        if upstream == ALL_REGISTRIES:
            raise InputError(
                "upstreams cannot be '*' with qualify, because repositories begin with the upstream's host",
                "List the upstreams instead of '*'",
            )
        return host_component(upstream)


def validated_upstreams(upstreams: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts of upstream registries without duplicates.

    Raises:
        InputError: An entry is not the name of a registry.
    """
    for upstream in upstreams:
        if upstream != ALL_REGISTRIES and not (_HOST.fullmatch(upstream) and is_host(upstream)):
            raise InputError(
                f"upstream {upstream!r} is not the name of a registry",
                "Write a host with an optional port, or '*' for all registries",
            )
    return tuple(dict.fromkeys(upstreams))
