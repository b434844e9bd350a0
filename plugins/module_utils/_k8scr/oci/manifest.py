# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests and indexes (OCI image specification; Docker image manifest version 2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .descriptor import Descriptor
from .digest import digest_of

MAXIMUM_SIZE = 4 << 20
"""Bytes of the largest manifest that registries accept (OCI distribution specification, "Pushing Manifests")."""
MAXIMUM_CONFIG_SIZE = 16 << 20
"""Bytes of the largest image config. Registries have no limit for blobs, but runtimes read a config into memory."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

_NONDISTRIBUTABLE_LAYER = re.compile(
    r"application/vnd\.(?:docker\.image\.rootfs\.foreign\.diff|oci\.image\.layer\.nondistributable\.v1)\.tar.*"
)

_IMAGE_CONFIGS = frozenset((OCI_CONFIG, DOCKER_CONFIG))
_MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
_INDEXES = frozenset((OCI_INDEX, DOCKER_INDEX))
MANIFEST_MEDIA_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)

_SCHEMA_1 = (
    "the manifest has Docker's schema 1, which registries no longer accept",
    "Pull and push the image once with a current Docker, which converts it",
)
_REJECTED = {
    "application/vnd.docker.distribution.manifest.v1+json": _SCHEMA_1,
    "application/vnd.docker.distribution.manifest.v1+prettyjws": _SCHEMA_1,
    "application/vnd.oci.artifact.manifest.v1+json": (
        "it is an artifact manifest of a draft of OCI 1.1, which registries do not accept",
        "Create the artifact again with a current version of its tool, which writes an image manifest",
    ),
}
"""The reason and the advice for manifests that are rejected, by media type."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character. A surrogate without its other half cannot be encoded (RFC 8259, section 8.2)."""


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index, with its exact bytes.

    Attributes:
        descriptor: The descriptor of the manifest itself.
        content: The bytes. They are never serialized again, so the digest stays.
        manifests: The manifests in an index; empty for a manifest.
        config: The config of a manifest; ``None`` for an index.
        layers: The layers of a manifest, in order; for an index, its entries that are not manifests. The build caches
            of BuildKit are indexes of layers.
    """

    descriptor: Descriptor
    content: bytes
    manifests: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that a destination needs before this manifest, each once, in order."""
        config = (self.config,) if self.config else ()
        return tuple(dict.fromkeys(config + self.layers))


def is_manifest(media_type: str) -> bool:
    """Whether content of this media type is a manifest or an index."""
    return media_type in MANIFEST_MEDIA_TYPES


def is_index(media_type: str) -> bool:
    """Whether content of this media type is an index."""
    return media_type in _INDEXES


def is_image_config(media_type: str) -> bool:
    """Whether content of this media type is the config of a container image, and not of another artifact."""
    return media_type in _IMAGE_CONFIGS


def is_nondistributable(layer: Descriptor) -> bool:
    """Whether a layer is nondistributable: clients download it from the URLs in the manifest.

    OCI image specification, "Non-Distributable Layers"; Docker image manifest version 2, "urls".
    """
    return bool(_NONDISTRIBUTABLE_LAYER.fullmatch(layer.media_type) and layer.more.get("urls"))


def parse_manifest(content: bytes, media_type: str | None = None, digest: str | None = None) -> Manifest:
    """Parse a manifest or an index.

    Args:
        media_type: The media type from its descriptor or the response; by default, the ``mediaType`` in the content.
        digest: The verified digest; by default, the SHA-256 digest of the content.

    Raises:
        InputError: The content is invalid, too large, or has an unsupported media type.
    """
    value = load_json_object(content, "the manifest")
    stated = value.get("mediaType") or _guess_media_type(value, media_type) or ""
    if not isinstance(stated, str):
        raise InputError("the manifest's mediaType is not a string")
    if stated in _MANIFESTS and value.get("config") is None:
        raise InputError("the manifest has no config")
    if media_type and is_manifest(media_type) and stated != media_type:
        raise InputError(f"the manifest has the mediaType {stated!r:.100} instead of {media_type}")
    if value.get("manifests") and value.get("layers"):
        raise InputError(
            "the document has both layers and manifests, so it could be read as a manifest or as an index",
            "Create the image again with another tool",
        )
    descriptor = Descriptor(stated, digest or digest_of(content), len(content))
    if stated in _INDEXES:
        entries = _descriptors(value, "manifests")
        kinds = {entry: is_manifest(entry.media_type) or entry.media_type in _REJECTED for entry in entries}
        manifests, blobs = (tuple(entry for entry in entries if kinds[entry] is kind) for kind in (True, False))
        return Manifest(descriptor, content, manifests, layers=blobs)
    if stated in _MANIFESTS:
        config = Descriptor.from_json(value.get("config"))
        if is_image_config(config.media_type) and config.size > MAXIMUM_CONFIG_SIZE:
            raise InputError(
                f"the image's config {config.digest} has {config.size} bytes; the limit is {MAXIMUM_CONFIG_SIZE}",
                "Keep large documents, such as SBOMs, in artifacts that refer to the image",
            )
        return Manifest(descriptor, content, config=config, layers=_descriptors(value, "layers"))
    rejected = _SCHEMA_1 if value.get("schemaVersion") == 1 else _REJECTED.get(stated)
    if rejected:
        raise InputError(*rejected)
    raise InputError(f"{stated!r:.100} is not the media type of an image manifest or index")


def with_layers(manifest: Manifest, layers: Mapping[str, Descriptor]) -> Manifest:
    """Return an image's manifest with new layers, which are given by the digest of the replaced layer."""
    value = load_json_object(manifest.content, "the manifest")
    for layer in value["layers"]:
        new = layers.get(layer["digest"])
        if new:
            layer.update(mediaType=new.media_type, digest=new.digest, size=new.size)
    content = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return parse_manifest(content, manifest.descriptor.media_type)


def load_json_object(content: bytes, what: str, limit: int = MAXIMUM_SIZE) -> dict[str, Any]:
    """Parse a JSON object like :func:`load_json`, and raise InputError if the content is not an object."""
    value = load_json(content, what, limit)
    if not isinstance(value, dict):
        raise InputError(f"{what} is not a JSON object")
    return value


def load_json(content: bytes, what: str, limit: int = MAXIMUM_SIZE) -> Any:
    """Parse JSON strictly: no ``NaN``, and only strings that can be encoded again.

    Args:
        what: Its name in messages.
        limit: The maximum bytes; by default, those of the largest manifest that registries accept.

    Raises:
        InputError: The content exceeds the limit, or is not JSON.
    """
    if len(content) > limit:
        raise InputError(f"{what} has {len(content)} bytes, more than the {limit} that registries accept")
    try:
        value = json.loads(content.decode(), parse_constant=_reject_constant)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not JSON") from error
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(name)


def _guess_media_type(value: Mapping[str, Any], described: str | None) -> str | None:
    # OCI does not require mediaType; the other properties differ between manifests and indexes.
    if described and is_manifest(described):
        return described
    if "manifests" in value:
        return OCI_INDEX
    return OCI_MANIFEST if "config" in value and "layers" in value else described


def _descriptors(value: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    entries = value.get(key) or []
    if not isinstance(entries, list):
        raise InputError(f"the manifest's {key} is not a list")
    return tuple(Descriptor.from_json(entry) for entry in entries)
