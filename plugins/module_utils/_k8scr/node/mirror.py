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
_DURATION = re.compile(r"0*[1-9][0-9]{0,5}(?:ms|s|m)")
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
        dial_timeout: How long the runtime waits for a connection to the mirror, as in ``2s``; empty for its default.
    """

    scheme: str
    address: str
    qualify: bool
    fallback: bool
    ca_cert: str = ""
    dial_timeout: str = ""

    @classmethod
    def from_endpoint(
        cls, endpoint: str, *, qualify: bool, fallback: bool, ca_cert: str = "", dial_timeout: str = ""
    ) -> Mirror:
        """Return the mirror at a URL.

        Raises:
            InputError: The endpoint is not the URL of a registry, ``ca_cert`` is set for ``http``, or ``dial_timeout``
                is not a duration.
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
        if dial_timeout and not _DURATION.fullmatch(dial_timeout):
            raise InputError(
                f"dial_timeout {dial_timeout!r} is not a duration",
                "Write a number greater than 0 with the unit ms, s or m, as in 2s",
            )
        return cls(scheme, address, qualify, fallback, ca_cert, dial_timeout)

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


def validated_exclude(exclude: Iterable[str], upstreams: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts of the registries that are not pulled from the mirror, without duplicates.

    Raises:
        InputError: An entry is not the name of a registry, or is one of the upstreams.
    """
    for registry in exclude:
        if not (_HOST.fullmatch(registry) and is_host(registry)):
            raise InputError(
                f"{registry!r} in exclude is not the name of a registry; a mirror applies to whole registries, not to"
                " single images",
                "Write a host with an optional port. To make the images of nodes independent of the mirror, set"
                " preload_node_critical of the role preload",
            )
        if registry in upstreams:
            raise InputError(f"{registry} is in upstreams and in exclude", "Remove it from one of them")
    return tuple(dict.fromkeys(exclude))
