# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects with images, and the search of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.collection import Discovery, Origin
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.custom_resources import ResourcePaths
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.manifests import find_in_value

IMAGE = "registry.example.com/team/app:1"


def search(value: Any, extra_paths: dict[str, Any] | None = None) -> Discovery:
    """Return the images in a value."""
    discovery = Discovery()
    find_in_value(value, Origin(file="app.yml"), discovery, ResourcePaths(extra_paths))
    return discovery


def found(value: Any, **options: Any) -> list[str]:
    """Return the names of the found images."""
    discovery = search(value, **options)
    assert discovery.problems == []
    return [str(image.name) for image in discovery.found]


def guessed(value: Any) -> list[str]:
    """Return the guessed names."""
    return [str(image.name) for image in search(value).guesses]


def pod_spec(image: str = IMAGE, **fields: Any) -> dict[str, Any]:
    """Return the spec of a Pod with one container."""
    return {"containers": [{"name": "main", "image": image, **fields}]}


def item(kind: str, spec: Any, api_version: str = "v1", **metadata: Any) -> dict[str, Any]:
    """Return an object."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "app", **metadata}, "spec": spec}
