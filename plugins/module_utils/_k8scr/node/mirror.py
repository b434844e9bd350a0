# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mirror of registries, as each container runtime is told about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

ALL = "*"
"""Stands for all registries."""
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?|\[[0-9A-Fa-f:]+\](?::[0-9]+)?")
_ENDPOINT = re.compile(r"(https?)://([A-Za-z0-9\[][^/\s\"'\\@]*)")


@dataclass(frozen=True)
class Mirror:
    """The registry that the nodes pull from.

    Attributes:
        scheme: ``http`` or ``https``.
        address: Its host and port.
        qualify: Whether an image's repository there begins with the host of its name.
        fallback: Whether the upstream is asked for what the mirror does not have.
        ca_cert: A file on the node with the certificates to trust for it; empty for those that the node trusts.
    """

    scheme: str
    address: str
    qualify: bool
    fallback: bool
    ca_cert: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Mirror:
        """Return the mirror that a module's options describe.

        Raises:
            InputError: The endpoint is no URL of a registry, or has no certificate.
        """
        match = _ENDPOINT.fullmatch((options["endpoint"] or "").rstrip("/"))
        if not match:
            raise InputError(
                f"endpoint is {options['endpoint']!r}, which is not the URL of a registry",
                "Write http:// or https://, a host, and a port if it has one",
            )
        if options["ca_cert"] and match.group(1) == "http":
            raise InputError(
                f"endpoint is {options['endpoint']!r}, which is reached without TLS",
                "Leave out ca_cert, or write https://",
            )
        return cls(match.group(1), match.group(2), options["qualify"], options["fallback"], options["ca_cert"] or "")

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        return f"{self.scheme}://{self.address}"

    def prefix(self, upstream: str) -> str:
        """Return what the repositories of an upstream begin with there; empty for nothing.

        Raises:
            InputError: It depends on the upstream, and that is any.
        """
        if not self.qualify:
            return ""
        if upstream == ALL:
            raise InputError(
                "with qualify the place of an image depends on its host, which has to be named",
                "Name the upstreams instead of '*'",
            )
        return upstream.lower().replace(":", "_")


def check_upstreams(upstreams: list[str]) -> list[str]:
    """Return the hosts, each once.

    Raises:
        InputError: One is not the name of a registry.
    """
    for upstream in upstreams:
        if upstream != ALL and not _HOST.fullmatch(upstream):
            raise InputError(
                f"{upstream!r} is not the name of a registry", "Write a host, with a port if it has one, or '*' for all"
            )
    return list(dict.fromkeys(upstreams))
