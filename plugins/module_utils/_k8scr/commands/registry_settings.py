# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the registry in the cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..registry.cluster import PodSettings, RegistrySettings
from .cluster_options import cluster_settings
from .numbers import read_number

REGISTRY_POD_ARGUMENT_SPEC: dict[str, Any] = {
    "namespace": {"type": "str", "default": PodSettings.namespace},
    "registry": {"type": "str", "default": PodSettings.name},
    "registry_port": {"type": "int", "default": PodSettings.port},
    "registry_scheme": {"type": "str", "choices": ["http", "https"], "default": PodSettings.scheme},
}
"""Argument spec of the fragment ``k8scr.core.registry.pod``."""
REGISTRY_ARGUMENT_SPEC: dict[str, Any] = {
    **REGISTRY_POD_ARGUMENT_SPEC,
    "qualify": {"type": "bool", "default": False},
    "connections": {"type": "int", "default": RegistrySettings.connections},
    "bandwidth": {"type": "bytes"},
    "chunk_size": {"type": "bytes"},
    "timeout": {"type": "int", "default": RegistrySettings.timeout},
    "minimum_rate": {"type": "bytes", "default": RegistrySettings.minimum_rate},
    "retry_timeout": {"type": "int", "default": RegistrySettings.retry_timeout},
}
"""Argument spec of the fragments ``k8scr.core.registry.pod`` and ``k8scr.core.registry``."""
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_POD = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
"""Names of Kubernetes objects: RFC 1123 labels and subdomains."""
READ_ONLY_PORT = 5001
"""The default port that the role ``registry`` serves pulls on."""


def pod_settings(options: Mapping[str, Any]) -> PodSettings:
    """Return the Pod of the registry.

    Raises:
        InputError: The port is out of bounds, or a name is not valid.
    """
    for option, what, pattern in (("namespace", "namespace", _NAMESPACE), ("registry", "Pod", _POD)):
        if not pattern.fullmatch(options[option]):
            raise InputError(
                f"{option} is {options[option]!r:.80}, which is not the name of a {what}",
                "Such names have lower-case letters, digits and hyphens",
            )
    return PodSettings(
        options["namespace"], options["registry"], read_number(options, "registry_port"), options["registry_scheme"]
    )


def registry_settings(options: Mapping[str, Any]) -> RegistrySettings:
    """Return the registry, and how to transfer images to it and from it.

    Raises:
        InputError: A number is out of bounds.
    """
    bandwidth, chunk_size = (
        read_number(options, name) if options[name] else None for name in ("bandwidth", "chunk_size")
    )
    return RegistrySettings(
        cluster_settings(options),
        pod_settings(options),
        read_number(options, "connections"),
        bandwidth,
        chunk_size,
        read_number(options, "timeout"),
        read_number(options, "minimum_rate"),
        read_number(options, "retry_timeout"),
    )
