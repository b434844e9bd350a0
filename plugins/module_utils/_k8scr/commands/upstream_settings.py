# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the option ``upstreams``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..oci.reference import DOCKER_HUB, DOCKER_HUB_ALIASES, parse_reference
from ..registry.auth_files import Credentials
from ..registry.tls_files import TlsFiles
from ..registry.upstreams import UpstreamSettings

UPSTREAMS_ARGUMENT_SPEC: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "host": {"type": "str", "required": True},
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "validate_certs": {"type": "bool", "default": True},
        "plain_http": {"type": "bool", "default": False},
        "mirrors": {"type": "list", "elements": "str", "default": []},
    },
    "required_together": [("username", "password")],
    "required_by": {"client_key": ["client_cert"]},
}
"""Argument spec of the option, a list with a dictionary for each registry."""


def upstream_settings(options: Sequence[Mapping[str, Any]]) -> dict[str, UpstreamSettings]:
    """Return the settings of each registry, by its host.

    Raises:
        InputError: A host or mirror is not a registry, or two entries have the same host.
    """
    settings: dict[str, UpstreamSettings] = {}
    for option in options:
        if any("@" in text for text in (option["host"], *(option["mirrors"] or ()))):
            raise InputError("upstreams has a host with credentials", "Set them with username and password")
        host, path = _read_host(option["host"])
        if path:
            raise InputError(f"the upstream {option['host']!r:.200} has a path", "Write HOST or HOST:PORT")
        if host in settings:
            raise InputError(f"the upstream {host} has several entries", "Write all its settings in one entry")
        username = option["username"]
        settings[host] = UpstreamSettings(
            None if username is None else Credentials(username, option["password"], origin="upstreams"),
            _tls_files(option),
            option["validate_certs"],
            option["plain_http"],
            tuple(_read_host(mirror) for mirror in option["mirrors"] or ()),
        )
    return settings


def _tls_files(option: Mapping[str, Any]) -> TlsFiles:
    ca_cert, certificate = option["ca_cert"], option["client_cert"]
    certificates = ((certificate, option["client_key"] or certificate),) if certificate else ()
    return TlsFiles((ca_cert,) if ca_cert else (), certificates)


def _read_host(text: str) -> tuple[str, str]:
    """Return the host of a registry and the path after it, as at the start of an image's name."""
    host, _slash, path = text.lower().partition("/")
    host = DOCKER_HUB if host in DOCKER_HUB_ALIASES else host
    try:
        parsed = parse_reference(f"{host}/{path or 'any/path'}")
    except InputError:
        parsed = None
    if parsed is None or parsed.host != host or parsed.digest or parsed.tag != "latest":
        raise InputError(f"{text!r:.200} in upstreams is not a registry", "Write HOST or HOST:PORT, without a scheme")
    return host, path
