# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify the blobs of stored images: look each one up in its repositories, and read its content once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import DigestMismatchError, K8scrError, MissingBlobError
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from .client import Registry
from .image_reader import is_about_content, with_errors
from .inventory import StoredImage
from .repository import Repository

if TYPE_CHECKING:
    _Map = Callable[[Callable[["_Blob"], "_Blob"], Iterable["_Blob"]], Iterator["_Blob"]]


@dataclass
class _Blob:
    """One blob.

    Attributes:
        repositories: The repositories with images that contain it.
        errors: The reasons why it is missing or damaged, by repository.
    """

    descriptor: Descriptor
    repositories: dict[str, None] = field(default_factory=dict)
    errors: dict[str, K8scrError] = field(default_factory=dict)


class BlobCheck:
    """Verifies blobs.

    Args:
        content: Whether to read their content. Registries store a blob of several repositories once, so it is read
            from one of them.
    """

    def __init__(self, registry: Registry, content: bool) -> None:
        self._registry = registry
        self._content = content

    def run(self, images: list[StoredImage], concurrently: _Map) -> list[StoredImage]:
        """Return the images with their missing and damaged blobs.

        Args:
            concurrently: Yields the results of a function for each item.

        Raises:
            K8scrError: The registry cannot be reached.
        """
        blobs: dict[Descriptor, _Blob] = {}
        for image in images:
            for manifest in image.manifests:
                for blob in manifest.stored_blobs:
                    blobs.setdefault(blob, _Blob(blob)).repositories[image.repository] = None
        failed = {blob.descriptor: blob.errors for blob in concurrently(self._check, blobs.values()) if blob.errors}
        return [with_errors(image, _errors_of(image, failed)) for image in images] if failed else images

    def _check(self, blob: _Blob) -> _Blob:
        must_read = self._content
        damage: DigestMismatchError | None = None
        for name in blob.repositories:
            repository = Repository(self._registry, name)
            try:
                if must_read and blob.descriptor.size:
                    _read(repository, blob.descriptor)
                    must_read = False
                elif not repository.has_blob(blob.descriptor):
                    raise MissingBlobError(f"{repository.description} does not have the blob {blob.descriptor.digest}")
                elif damage:
                    blob.errors[name] = damage
            except DigestMismatchError as error:
                blob.errors[name] = damage = error
                must_read = False
            except K8scrError as error:
                if not is_about_content(error, self._registry):
                    raise
                blob.errors[name] = error
        return blob


def _errors_of(image: StoredImage, failed: dict[Descriptor, dict[str, K8scrError]]) -> dict[str, K8scrError]:
    """Return the errors of an image's blobs by digest."""
    return {
        blob.digest: failed[blob][image.repository]
        for manifest in image.manifests
        for blob in manifest.stored_blobs
        if image.repository in failed.get(blob, {})
    }


def _read(repository: Repository, blob: Descriptor) -> None:
    what = f"blob {blob.digest} in {repository.description}"
    with repository.open_blob(blob) as blocks:
        for _block in verified(blocks, blob.digest, blob.size, what):
            pass
