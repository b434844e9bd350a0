# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The software and the features of a registry, as far as GET requests and its Pod show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import K8scrError
from ..oci.json_object import json_objects
from .capacity import containers_of
from .client import Registry
from .error_responses import COLLECTION_HEADER, COLLECTION_RUNNING, read_errors
from .image_reader import is_about_content
from .inventory import Inventory
from .repository import Repository
from .response import RegistryResponse

_Result = TypeVar("_Result")

DISTRIBUTION_3 = "distribution 3"
DISTRIBUTION_2 = "distribution 2"
GO_CONTAINERREGISTRY = "go-containerregistry"
_PROBE = "/v2/k8scr/probe/tags/list?n=x"
"""A list of the tags of a missing repository, with an invalid number, to which registries respond differently."""
_SOFTWARE = {
    ("PAGINATION_NUMBER_INVALID", "invalid number of results requested"): DISTRIBUTION_3,
    ("NAME_UNKNOWN", "repository name not known to registry"): DISTRIBUTION_2,
    ("NAME_UNKNOWN", "Unknown name"): GO_CONTAINERREGISTRY,
}
"""The software by the code and the beginning of the text of its error response."""
_READ_ONLY_STATES = ("reader", COLLECTION_RUNNING)
"""The values of the header of the port for pulls, and of the write port during a garbage collection."""
_READ_ONLY_CONTAINER = "mirror"
"""The container of the role ``registry`` that serves the read-only port."""


@dataclass(frozen=True)
class Features:
    """Properties of a registry; ``None`` where a property is unknown.

    Attributes:
        software: The implementation, such as ``distribution 3``.
        delete: Whether images can be deleted, also if not through this port.
        referrers_api: Whether it has the referrers API.
        read_only: Whether this port rejects writes.
    """

    software: str | None = None
    delete: bool | None = None
    referrers_api: bool | None = None
    read_only: bool | None = None


def find_features(registry: Registry, inventory: Inventory, pod: Mapping[str, Any], port: int) -> Features:
    """Return the properties of a registry.

    Args:
        inventory: The images of the registry; without any, it is unknown whether there is a referrers API.
        pod: The object of its Pod; empty if it is unknown.
        port: The port of the Pod to which the registry's client connects.

    Raises:
        K8scrError: The registry cannot be reached.
    """
    response = _readable(registry, lambda: _probe(registry)) or RegistryResponse(0)
    software = _software_of(response)
    state = response.headers.get(COLLECTION_HEADER)
    delete = True if state or software == GO_CONTAINERREGISTRY else None
    return Features(software, delete, _has_referrers_api(registry, inventory), _is_read_only(state, pod, port))


def is_distribution(registry: Registry) -> bool:
    """Return whether a registry is CNCF distribution; false too if it does not respond."""
    try:
        return _software_of(registry.exchange("GET", _PROBE)) in (DISTRIBUTION_2, DISTRIBUTION_3)
    except K8scrError:
        return False


def _probe(registry: Registry) -> RegistryResponse:
    failure = "the software of the registry cannot be determined"
    return registry.request_with_retries("GET", _PROBE, failure, tuple(range(200, 500)))


def _software_of(response: RegistryResponse) -> str | None:
    codes, texts = read_errors(response.content)
    return next(
        (
            software
            for (code, text), software in _SOFTWARE.items()
            if code in codes and any(each.startswith(text) for each in texts)
        ),
        None,
    )


def _has_referrers_api(registry: Registry, inventory: Inventory) -> bool | None:
    # Registries may respond with 404 for missing images.
    image = next(iter(inventory.images), None)
    if image is None:
        return None
    referrers = Repository(registry, image.repository).referrers
    return _readable(registry, lambda: referrers.listed(image.root.digest) is not None)


def _readable(registry: Registry, read: Callable[[], _Result]) -> _Result | None:
    """Return a result of the registry; ``None`` if it cannot be used, because properties may be unknown."""
    try:
        return read()
    except K8scrError as error:
        if not is_about_content(error, registry):
            raise
        return None


def _is_read_only(state: str | None, pod: Mapping[str, Any], port: int) -> bool | None:
    if state:
        return state in _READ_ONLY_STATES
    names = {container.get("name"): container for container in containers_of(pod)}
    if _READ_ONLY_CONTAINER not in names:
        return None
    ports = json_objects(names[_READ_ONLY_CONTAINER].get("ports"))
    return any(entry.get("containerPort") == port for entry in ports)
