# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes of images of a registry, and the order in which manifests are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .registry_server import RegistryServer
from .upstream_servers import settings, source

Run = Callable[..., dict[str, Any]]


def push_all(push: Run, upstream: RegistryServer, *tags: str, **options: Any) -> dict[str, Any]:
    """Push images of a registry, by default the tag 1, and return the result."""
    images = [source(upstream, f"team/app:{tag}") for tag in tags or ("1",)]
    return push(*images, upstreams=settings(upstream), **options)


def push_one(push: Run, upstream: RegistryServer, check_mode: bool = False, **entry: Any) -> dict[str, Any]:
    """Push an image of a registry with properties of its entry, and return the result."""
    return push({"source": source(upstream), **entry}, upstreams=settings(upstream), check_mode=check_mode)


def manifest_puts(server: RegistryServer, repository: str = "team/app") -> list[str]:
    """Return the tags and digests under which manifests were stored, in order."""
    prefix = f"PUT /v2/{repository}/manifests/"
    return [request[len(prefix) :] for request in server.received("PUT") if request.startswith(prefix)]
