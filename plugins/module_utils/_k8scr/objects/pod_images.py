# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of one Pod or template of Pods.

Users of the cluster write Pods, so every value may have any type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..oci.digest import parse_digest
from ..oci.json_object import json_object, json_objects
from ..oci.reference import parse_workload_reference

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_ORIGINAL_IMAGE = "original-image.k8scr.core/"
"""The prefix of the role ``image_policy`` for annotations with the original name of a container's image."""
_ORIGINAL_VOLUME = "original-volume.k8scr.core/"
"""The same for image volumes."""
_LONGEST_NAME = 1000
"""Characters of a name that are kept; a valid name has at most 900: a host, a path, a tag and a digest."""
_HEXADECIMAL = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class PodImage:
    """An image of a Pod.

    Attributes:
        image: Its name as the Pod has it, which may be invalid.
        digest: The digest that the container runtime reports; None if it reports none.
        is_ephemeral: Whether the image is that of an ephemeral container, which no template has.
        path: The field with the name, relative to the spec.
        original: The name before an admission policy rewrote it, according to an annotation; None without one.
    """

    image: str
    digest: str | None
    is_ephemeral: bool = False
    path: str = field(default="", compare=False)
    original: str | None = None


def images_of(
    spec: Mapping[str, Any], status: Mapping[str, Any], annotations: Mapping[str, Any] | None = None
) -> Iterator[PodImage]:
    """Yield the images of all containers and image volumes.

    Args:
        spec: The spec of the Pod or of the template.
        status: The status of the Pod; empty for a template.
        annotations: The annotations of the Pod.
    """
    annotations = annotations or {}
    containers, volumes = _image_ids(status)
    for section in CONTAINERS:
        for number, container in _numbered(spec.get(section)):
            image = container.get("image")
            if isinstance(image, str) and image.strip():
                name = str(container.get("name"))
                is_ephemeral, path = section == "ephemeralContainers", f"{section}[{number}].image"
                original = _original(annotations.get(f"{_ORIGINAL_IMAGE}{name}"), image)
                yield PodImage(_shortened(image), digest_in(containers.get(name)), is_ephemeral, path, original)
    for number, volume in _numbered(spec.get("volumes")):
        reference = json_object(volume.get("image")).get("reference")
        if isinstance(reference, str) and reference.strip():
            name = str(volume.get("name"))
            original = _original(annotations.get(f"{_ORIGINAL_VOLUME}{name}"), reference)
            path = f"volumes[{number}].image.reference"
            yield PodImage(_shortened(reference), digest_in(volumes.get(name)), path=path, original=original)


def digest_in(image_id: object) -> str | None:
    """Return the digest in the ``imageID`` of a container or the ``imageRef`` of an image volume; None without one.

    containerd and CRI-O report ``NAME@DIGEST`` with the digest of the index or of the manifest. For an image that was
    not pulled, containerd reports the digest of its config, and CRI-O the same without ``sha256:``. Docker adds
    ``docker-pullable://`` or ``docker://``.
    """
    if not isinstance(image_id, str):
        return None
    text = image_id.rpartition("://")[2].rpartition("@")[2]
    try:
        return parse_digest(f"sha256:{text}" if _HEXADECIMAL.fullmatch(text) else text)
    except InputError:
        return None


def _numbered(value: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the JSON objects in a list, each with its index."""
    items = value if isinstance(value, list) else ()
    yield from ((number, item) for number, item in enumerate(items) if isinstance(item, Mapping))


def _image_ids(status: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, object]]:
    """Return the image digests in the status of each container and each image volume, by their names."""
    containers: dict[str, object] = {}
    volumes: dict[str, object] = {}
    for section in _STATUSES:
        for container in json_objects(status.get(section)):
            containers[str(container.get("name"))] = container.get("imageID")
            for mount in json_objects(container.get("volumeMounts")):
                image = json_object(json_object(mount.get("volumeStatus")).get("image"))
                if image:
                    volumes[str(mount.get("name"))] = image.get("imageRef")
    return containers, volumes


def _original(annotation: object, image: str) -> str | None:
    """Return an original name if the policy could have rewritten it to the image's name.

    Users who create Pods may write any annotation, so another name is ignored.
    """
    if not isinstance(annotation, str) or len(annotation) > _LONGEST_NAME:
        return None
    try:
        original, name = parse_workload_reference(annotation), parse_workload_reference(image)
    except InputError:
        return None
    is_same = (original.digest or original.tag) == (name.digest or name.tag)
    return annotation if is_same and name.path in (original.path, original.repository(qualify=True)) else None


def _shortened(name: str) -> str:
    """Return a name; a long one ends in a character that is not valid in names."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
