# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the manifests of one image of a registry; errors become a part of the result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import (
    PROXY_STATUS,
    ConnectionLostError,
    DigestMismatchError,
    InputError,
    K8scrError,
    MissingBlobError,
    MissingManifestError,
    RegistryError,
    SourceError,
    WrongPathError,
)
from ..oci.descriptor import Descriptor
from ..oci.graph import walk_manifests
from ..oci.image_config import config_platform, read_config
from ..oci.json_object import json_object
from ..oci.manifest import Manifest, is_image_config, is_nondistributable, load_json_object
from ..oci.platform import Platform
from .client import Registry
from .inventory import StoredImage, StoredManifest
from .repository import Repository

_CREATED = "org.opencontainers.image.created"
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_TOO_MANY_REQUESTS = 429
_LONGEST_PLATFORM = 255
_NO_PROPERTIES: Mapping[str, Any] = {}


def is_about_content(error: K8scrError, registry: Registry) -> bool:
    """Return whether an error concerns one tag, manifest or blob, so that others can probably be read.

    A registry that cannot read a file of its storage interrupts the response. It still responds to other requests.
    """
    if isinstance(error, ConnectionLostError):
        return _responds(registry)
    if isinstance(error, RegistryError):
        return not isinstance(error, WrongPathError) and error.status not in {*PROXY_STATUS, _TOO_MANY_REQUESTS}
    return isinstance(error, (SourceError, DigestMismatchError, InputError))


def _responds(registry: Registry) -> bool:
    try:
        return registry.exchange("GET", "/v2/").status_code not in PROXY_STATUS
    except K8scrError:
        return False


class ImageReader:
    """Reads images; several threads may use it.

    Args:
        configs: Whether to read configs, for the time of creation and the platform.
        details: Whether to read labels and annotations too.
    """

    def __init__(self, registry: Registry, configs: bool, details: bool) -> None:
        self._registry = registry
        self._configs = configs
        self._details = details
        self._known: dict[Descriptor, Descriptor] = {}
        """Each descriptor once, because images share most blobs."""

    def read(self, image: StoredImage, root: Manifest | None = None) -> StoredImage:
        """Return an image with its manifests.

        Args:
            root: The root, if it was read and verified before.

        Raises:
            K8scrError: The registry cannot be reached.
        """
        source = _RecordingSource(Repository(self._registry, image.repository), root)
        try:
            found = list(walk_manifests(source, image.root, partial=True))
        except SourceError as error:
            source.errors.setdefault(image.root.digest, error)
            return with_errors(image, source.errors)
        root = found[-1]
        manifests = {manifest.descriptor.digest: manifest for manifest in found}
        platforms = {child.digest: child.platform for manifest in found for child in manifest.manifests}
        for digest in platforms:
            if digest not in manifests and digest not in source.errors:
                limit = SourceError(
                    f"image {image.root.digest} in {source.description} has too many manifests or levels"
                )
                source.errors.setdefault(digest, limit)
        ordered = list(_root_first(root, manifests, set()))
        image = replace(image, manifests=tuple(self._stored(each, platforms) for each in ordered))
        if self._details:
            image = replace(image, annotations=_annotations(root))
        if self._configs:
            image = self._with_configs(image, ordered, root, source)
        return with_errors(image, source.errors)

    def _stored(self, manifest: Manifest, platforms: Mapping[str, Platform | None]) -> StoredManifest:
        blobs = tuple(self._shared(blob) for blob in manifest.blobs)
        return StoredManifest(_bare(manifest.descriptor), _usable(platforms.get(manifest.descriptor.digest)), blobs)

    def _shared(self, blob: Descriptor) -> Descriptor:
        return self._known.get(blob) or self._known.setdefault(blob, _bare(blob))

    def _with_configs(
        self, image: StoredImage, manifests: list[Manifest], root: Manifest, source: _RecordingSource
    ) -> StoredImage:
        """Add the values of the configs: the first one, and those whose platform the index does not state.

        The configs of attestations have no values.
        """
        created: str | None = None
        labels: Mapping[str, str] = {}
        read = False
        stored = list(image.manifests)
        for number, manifest in enumerate(manifests):
            config, platform = manifest.config, stored[number].platform
            if config is None or not is_image_config(config.media_type):
                continue
            if platform and (read or platform.is_unknown):
                continue
            value = source.read_config(config)
            if value is None:
                continue
            stored[number] = replace(stored[number], platform=platform or _usable(config_platform(value)))
            if not read:
                read = True
                created = _time(value.get("created"))
                labels = _labels(value)
        created = created or _time(_annotations(root).get(_CREATED))
        image = replace(image, manifests=tuple(stored), created=created)
        return replace(image, labels=labels) if self._details else image


class _RecordingSource:
    """A source of manifests that records errors about the content.

    Args:
        root: A manifest that was read before.
    """

    def __init__(self, repository: Repository, root: Manifest | None) -> None:
        self.description = repository.description
        self.errors: dict[str, K8scrError] = {}
        self._repository = repository
        self._root = root

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        if self._root and self._root.descriptor.digest == descriptor.digest:
            return self._root
        try:
            return self._repository.fetch_manifest(descriptor)
        except K8scrError as error:
            self._record(descriptor, error)
            # Readers of a part of an image skip manifests after this error only.
            raise SourceError(error.message, error.advice) from error

    def read_config(self, config: Descriptor) -> dict[str, Any] | None:
        """Return the JSON object of a config, or ``None`` after an error."""
        try:
            return read_config(self._repository, config)
        except K8scrError as error:
            self._record(config, error)
            return None

    def _record(self, descriptor: Descriptor, error: K8scrError) -> None:
        if not is_about_content(error, self._repository.store):
            raise error
        self.errors[descriptor.digest] = error


def with_errors(image: StoredImage, errors: Mapping[str, K8scrError]) -> StoredImage:
    """Return an image with the errors of its manifests and blobs, which are given by their digests."""
    missing, damaged, error = dict.fromkeys(image.missing), dict.fromkeys(image.damaged), image.error
    for digest, each in errors.items():
        if isinstance(each, (MissingManifestError, MissingBlobError)):
            missing[digest] = None
        elif isinstance(each, DigestMismatchError):
            damaged[digest] = None
        else:
            error = error or each
    error = error or errors.get(image.root.digest)
    return replace(image, missing=tuple(missing), damaged=tuple(damaged), error=error)


def _root_first(manifest: Manifest, manifests: Mapping[str, Manifest], seen: set[str]) -> Iterator[Manifest]:
    """Yield the manifests of an image, each once, in the order of the indexes that list them."""
    seen.add(manifest.descriptor.digest)
    yield manifest
    for child in manifest.manifests:
        if child.digest in manifests and child.digest not in seen:
            yield from _root_first(manifests[child.digest], manifests, seen)


def _bare(descriptor: Descriptor) -> Descriptor:
    """Return a descriptor with only the properties that tell whether registries store its content."""
    more = {"urls": descriptor.more["urls"]} if is_nondistributable(descriptor) else _NO_PROPERTIES
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, _NO_PROPERTIES, None, more)


def _usable(platform: Platform | None) -> Platform | None:
    """Return a platform that can be shown; ``None`` for a long one or one with control characters."""
    text = str(platform or "")
    return platform if text.isprintable() and len(text) <= _LONGEST_PLATFORM else None


def _annotations(manifest: Manifest) -> dict[str, str]:
    return _texts(load_json_object(manifest.content, "the manifest").get("annotations"))


def _labels(config: Mapping[str, Any]) -> dict[str, str]:
    return _texts(json_object(config.get("config")).get("Labels"))


def _texts(value: object) -> dict[str, str]:
    """Return the members of a JSON object that are strings."""
    return {key: text for key, text in json_object(value).items() if isinstance(text, str)}


def _time(value: object) -> str | None:
    return value if isinstance(value, str) and _RFC_3339.fullmatch(value) else None
