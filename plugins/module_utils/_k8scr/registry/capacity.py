# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The size of a registry's storage, from the specification of its Pod. No API of registries returns it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..errors import ApiServerError
from ..http.retry import Retries
from ..oci.json_object import json_object, json_objects

if TYPE_CHECKING:
    from ..transport.api_server import ApiServerAdapter
    from .cluster import PodSettings

UNKNOWN = "unknown"
"""The source of the capacity if no known kind of volume stores the images, for example with S3."""
_STORAGE_PATHS = ("/var/lib/registry", "/var/lib/registry/")
"""The folder of the images in containers of CNCF distribution."""
_QUANTITY = re.compile(r"([0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19})(?:([a-zA-Z]{1,2})|[eE]([+-]?[0-9]{1,2}))?")
_SUFFIXES = {
    **{f"{letter}i": Decimal(1 << 10 * power) for power, letter in enumerate("KMGTPE", 1)},
    **{letter: Decimal(10 ** (3 * power)) for power, letter in enumerate("kMGTPE", 1)},
    "m": Decimal("0.001"),
}
_FORBIDDEN = 403


@dataclass(frozen=True)
class Capacity:
    """The capacity of a registry's storage.

    Attributes:
        bytes: Its size; ``None`` if it is unknown.
        source: The kind of volume: ``emptyDir``, ``memory``, ``hostPath``, ``persistentVolumeClaim`` or ``unknown``.
    """

    bytes: int | None = None
    source: str = UNKNOWN


def read_pod(adapter: ApiServerAdapter, pod: PodSettings, retries: Retries | None = None) -> Mapping[str, Any]:
    """Return the object of a registry's Pod; empty if it does not exist or the user may not read it.

    Raises:
        ClusterError: The API server cannot be reached.
        ApiServerError: It returned another error response.
    """
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
    return _read(adapter, path, f"Pod {pod.namespace}/{pod.name}", retries)


def capacity(adapter: ApiServerAdapter, pod: PodSettings, retries: Retries | None = None) -> Capacity:
    """Return the capacity of a registry's storage, as far as the user may read it; errors as :func:`read_pod`."""
    return capacity_of(read_pod(adapter, pod, retries), adapter, pod, retries)


def capacity_of(
    found: Mapping[str, Any], adapter: ApiServerAdapter, pod: PodSettings, retries: Retries | None = None
) -> Capacity:
    """Return the capacity of a registry's storage, see :func:`capacity`, for a Pod that was read before.

    The size limit of an ``emptyDir`` is known from the Pod. The size of a claim requires ``get`` on the claim.
    """
    volume = _storage_volume(found)
    empty_dir, claim = volume.get("emptyDir"), volume.get("persistentVolumeClaim")
    if isinstance(empty_dir, Mapping):
        source = "memory" if empty_dir.get("medium") == "Memory" else "emptyDir"
        return Capacity(parse_quantity(empty_dir.get("sizeLimit")) or None, source)
    if isinstance(claim, Mapping):
        name = str(claim.get("claimName"))
        path = f"/api/v1/namespaces/{pod.namespace}/persistentvolumeclaims/{name}"
        value = _read(adapter, path, f"PersistentVolumeClaim {pod.namespace}/{name}", retries)
        size = json_object(json_object(value.get("status")).get("capacity")).get("storage")
        return Capacity(parse_quantity(size), "persistentVolumeClaim")
    return Capacity(None, "hostPath" if "hostPath" in volume else UNKNOWN)


def containers_of(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the containers of a Pod."""
    yield from json_objects(json_object(found.get("spec")).get("containers"))


def parse_quantity(value: object) -> int | None:
    """Return the bytes of a quantity, as in ``20Gi``, rounded down; ``None`` for another text.

    Kubernetes API, "Resource quantities".
    """
    match = _QUANTITY.fullmatch(value if isinstance(value, str) else str(value) if isinstance(value, int) else "")
    if match is None or (match[2] and match[2] not in _SUFFIXES):
        return None
    number = Decimal(f"{match[1]}e{match[3] or 0}") * (_SUFFIXES[match[2]] if match[2] else 1)
    return math.floor(number)


def _storage_volume(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the volume of a Pod that stores the images; empty if there is none."""
    names = {
        mount.get("name")
        for container in containers_of(found)
        for mount in json_objects(container.get("volumeMounts"))
        if mount.get("mountPath") in _STORAGE_PATHS
    }
    volumes = json_objects(json_object(found.get("spec")).get("volumes"))
    return next((volume for volume in volumes if volume.get("name") in names), {})


def _read(adapter: ApiServerAdapter, path: str, name: str, retries: Retries | None) -> Mapping[str, Any]:
    try:
        return (retries or Retries()).run(f"read {name}", lambda: adapter.read_object(path, name)) or {}
    except ApiServerError as error:
        if error.status != _FORBIDDEN:
            raise
        return {}
