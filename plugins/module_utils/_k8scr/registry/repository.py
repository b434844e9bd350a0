# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A repository of a registry as a source and destination of images (OCI distribution specification 1.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import (
    DigestMismatchError,
    InputError,
    K8scrError,
    MissingContentError,
    MissingManifestError,
    RegistryError,
    SourceError,
)
from ..files.compression import CompressedContent
from ..http.headers import media_type_of
from ..oci.content import BLOCK_SIZE, BlobContent, Blocks
from ..oci.decimal import parse_decimal
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of, parse_digest, split_digest, verify_content
from ..oci.graph import walk_manifests
from ..oci.interfaces import Capabilities, ImageSource
from ..oci.manifest import (
    MANIFEST_MEDIA_TYPES,
    MAXIMUM_SIZE,
    Manifest,
    is_manifest,
    is_nondistributable,
    parse_manifest,
)
from .client import Registry
from .download import download_blob
from .error_responses import names_revision
from .response import RegistryResponse
from .upload import BlobUpload, CompressedUpload
from .upload_state import NO_RECORDS

if TYPE_CHECKING:
    from .referrers import RegistryReferrers

_MISSING_CONTENT = frozenset(("MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"))
"""Error codes for a manifest that refers to missing content; registries use one or another."""

_ACCEPT = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
_LONGEST_MEDIA_TYPE = 255
"""Characters. Descriptors with longer ones are not valid, and would take much memory."""


class Repository:
    """A repository of a registry; see :class:`ImageSource` and :class:`ImageDestination`."""

    capabilities = Capabilities(verifies_digests=True, referrers=True)

    def __init__(self, registry: Registry, name: str) -> None:
        self.store = registry
        self.repository = name
        self.description = f"repository {name} in {registry.description}"
        self._has_unreadable = False
        """Whether the registry could not read a manifest that was looked up."""

    @cached_property
    def referrers(self) -> RegistryReferrers:
        from .referrers import RegistryReferrers

        return RegistryReferrers(self.store, self)

    def fallback_referrers(self, subject: str) -> list[dict[str, Any]] | None:
        return None if self.referrers.listed(subject) is not None else self.referrers.fallback(subject, replaces=True)

    def resolve(self, tag: str) -> Descriptor | None:
        """Return the descriptor of the manifest or index with this tag or digest, or ``None``, with one request.

        Raises:
            RegistryError: The registry returned an error response, or has other content under this digest.
        """
        failure = f"image {self.repository}:{tag} cannot be looked up"
        response = self._look_up_manifest(tag, failure, _ACCEPT)
        if response.status_code == 404:
            return None
        found = _described(response)
        if found is None:
            # The specification does not require the digest in a response to HEAD. It is then computed from the content.
            return self._get_manifest(tag, tag if ":" in tag else None).descriptor
        if ":" not in tag:
            return found
        if split_digest(found.digest)[0] == split_digest(tag)[0] and found.digest != tag:
            raise RegistryError(f"{self.description} has {found.digest} under the digest {tag}")
        # Some registries return the sha256 digest for a request with a sha512 digest; readers verify the content.
        return replace(found, digest=tag)

    def find_tag(self, tag: str) -> Descriptor | None:
        """Return the descriptor of the manifest or index with this tag, or ``None``, with one request.

        Raises:
            MissingManifestError: distribution has the tag, and no manifest for it.
            RegistryError: The registry returned an error response.
        """
        failure = f"image {self.repository}:{tag} cannot be looked up"
        response = self._request("GET", f"manifests/{tag}", failure, (200, 404), headers=_ACCEPT)
        if response.status_code == 404:
            if names_revision(response.content):
                raise MissingManifestError(f"{self.description} does not have the manifest of the tag {tag}")
            return None
        return _described(response) or self._get_manifest(tag).descriptor

    def fetch_tagged(self, tag: str) -> Manifest | None:
        """Return the verified manifest or index with a tag, with one request; ``None`` after any failure.

        Nothing is retried. :meth:`resolve` and :meth:`fetch_manifest` retry and state the reason.
        """
        try:
            response = self.store.exchange("GET", f"/v2/{self.repository}/manifests/{tag}", headers=_ACCEPT)
            if response.status_code != 200:
                return None
            digest = parse_digest(response.headers.get("Docker-Content-Digest"))
            verify_content(response.content, digest, f"manifest {tag}")
            return _parsed(response, digest)
        except K8scrError:
            return None

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        return self._get_manifest(descriptor.digest, descriptor.digest, descriptor.size)

    def require_support(self, manifest: Manifest) -> None:
        """Accept all manifests; the registry rejects those that it does not support."""

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        return not is_nondistributable(blob)

    def is_whole(self, root: Descriptor, tagged: bool) -> bool:
        # Registries reject manifests with missing blobs. But if another repository has the same manifest with a tag,
        # the collector of distribution 3 keeps it in this repository too, and deletes the links to its blobs.
        return tagged or self._has_content(root)

    def has_manifest(self, descriptor: Descriptor) -> bool:
        return self._stores_manifest(descriptor) and self._has_content(descriptor)

    def _stores_manifest(self, descriptor: Descriptor) -> bool:
        failure = f"manifest {descriptor.digest} cannot be looked up in {self.repository}"
        response = self._look_up_manifest(descriptor.digest, failure, {"Accept": descriptor.media_type})
        return _has_size(response, descriptor.size)

    def _has_content(self, root: Descriptor) -> bool:
        """Whether the repository has the children and the blobs that an existing manifest lists."""
        try:
            blobs = {blob.digest: blob for manifest in walk_manifests(self, root) for blob in manifest.blobs}
        except (SourceError, DigestMismatchError):
            return False
        return all(self.has_blob(blob) for blob in blobs.values() if not is_nondistributable(blob))

    def has_blob(self, descriptor: Descriptor) -> bool:
        failure = f"blob {descriptor.digest} cannot be looked up in {self.repository}"
        response = self._request("HEAD", f"blobs/{descriptor.digest}", failure, (200, 404), headers={})
        return _has_size(response, descriptor.size)

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        attempts = self.store.retries.begin(f"blob {descriptor.digest} from {self.repository}")
        blocks = download_blob(self.store, self.repository, descriptor, offset, attempts)
        with closing(blocks):
            yield blocks

    def close(self) -> None:
        """Do nothing: the registry has the connections."""

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """See :meth:`ImageDestination.put_blob` (specification, "Pushing blobs", "Mounting a blob")."""
        attempts = self.store.retries.begin(f"blob {descriptor.digest} to {self.repository}")
        # Sending a small blob again is faster than requesting the offset.
        records = self.store.records if descriptor.size > BLOCK_SIZE else NO_RECORDS
        with records.open(self.repository, descriptor.digest) as record:
            upload = BlobUpload(self.store, self.repository, descriptor, content, attempts, record)
            return upload.run(mount_from)

    def put_compressed(
        self, expected: Descriptor, content: CompressedContent, mount_from: str | None = None
    ) -> tuple[Descriptor, bool]:
        """Store a layer that is compressed during the upload.

        Args:
            expected: The probable descriptor of the compressed layer, which may exist already or be mounted.
            mount_from: Another repository of this registry that has the expected layer.

        Returns:
            The descriptor of the stored layer, and whether it was mounted, so that nothing was uploaded.

        Raises:
            RegistryError: The registry returned an error response.
        """
        attempts = self.store.retries.begin(f"layer {expected.digest} to {self.repository}")
        with self.store.records.open(self.repository, content.key) as record:
            upload = CompressedUpload(self.store, self.repository, expected, content, attempts, record)
            mounted = upload.run(mount_from)
        return upload.descriptor, mounted

    def put_manifest(self, manifest: Manifest) -> None:
        self._put_manifest(manifest, manifest.descriptor.digest)

    def publish(self, root: Manifest, tag: str | None) -> None:
        self._put_manifest(root, tag or root.descriptor.digest)

    def _put_manifest(self, manifest: Manifest, reference: str) -> None:
        digest = manifest.descriptor.digest
        failure = f"manifest {digest} cannot be put at {reference}"
        headers = {"Content-Type": manifest.descriptor.media_type}
        options = {"data": manifest.content, "headers": headers}
        try:
            response = self._request("PUT", f"manifests/{reference}", failure, (201,), **options)
        except RegistryError as error:
            if "DIGEST_INVALID" in error.codes and not digest.startswith("sha256:"):
                raise error.replace(
                    advice="The registry may support only sha256 digests for manifests; it then stores an image by its"
                    " tag, but no index of such images"
                ) from error
            if manifest.config is None and manifest.layers and not error.transient:
                raise error.replace(
                    advice="It is an index of layers, such as a build cache of BuildKit, and the registry may store"
                    " only indexes of manifests: export the cache with image-manifest=true"
                ) from error
            if _MISSING_CONTENT.intersection(error.codes):
                advice = error.advice or "A garbage collection may delete content meanwhile: run again later"
                raise MissingContentError(error.message, advice, error.status, error.codes) from error
            raise
        stored = response.headers.get("Docker-Content-Digest", digest)
        if stored not in (digest, digest_of(manifest.content)):
            raise RegistryError(
                f"{self.description} stored manifest {digest} as {stored:.100}",
                "A proxy changes requests, or the registry is faulty",
            )
        if self._has_unreadable:
            self._require_readable(replace(manifest.descriptor, digest=stored))

    def _get_manifest(self, reference: str, digest: str | None = None, size: int | None = None) -> Manifest:
        failure = f"manifest {reference} cannot be read"
        response = self._request("GET", f"manifests/{reference}", failure, (200, 404), headers=_ACCEPT)
        if response.status_code == 404:
            raise MissingManifestError(f"{self.description} does not have the manifest {reference}")
        content = response.content
        if digest and len(content) <= MAXIMUM_SIZE:
            verify_content(content, digest, f"manifest {digest} from {self.description}", size)
        try:
            return _parsed(response, digest)
        except InputError as error:
            raise SourceError(
                f"manifest {reference} from {self.description} is not valid: {error.message}", error.advice
            ) from error

    def _look_up_manifest(self, reference: str, failure: str, headers: dict[str, str]) -> RegistryResponse:
        try:
            return self._request("HEAD", f"manifests/{reference}", failure, (200, 404), headers=headers)
        except RegistryError as error:
            self._has_unreadable = self._has_unreadable or error.is_unreadable
            raise

    def _require_readable(self, descriptor: Descriptor) -> None:
        """Check a stored manifest: distribution 2.8 keeps a file that a full storage left incomplete."""
        try:
            found = self._stores_manifest(descriptor)
        except RegistryError as error:
            if not error.is_unreadable:
                raise
            found = False
        if not found:
            raise RegistryError(
                f"{self.description} accepted manifest {descriptor.digest}, but cannot read it",
                "A full storage may have left its file incomplete: delete the manifest by its digest, run the"
                " registry's garbage collection, and push again",
            )

    def _request(
        self, method: str, path: str, failure: str, accepted: tuple[int, ...], **options: Any
    ) -> RegistryResponse:
        return self.store.request_with_retries(method, f"/v2/{self.repository}/{path}", failure, accepted, **options)


def _has_size(response: RegistryResponse, size: int) -> bool:
    """Return whether content exists: content of another size does not match. Some registries do not return it."""
    return response.status_code == 200 and response.headers.get("Content-Length", "0") in ("0", str(size))


def _parsed(response: RegistryResponse, digest: str | None) -> Manifest:
    media_type = media_type_of(response.headers)
    return parse_manifest(response.content, media_type if is_manifest(media_type) else None, digest)


def _described(response: RegistryResponse) -> Descriptor | None:
    """Return the descriptor from the headers of a response to HEAD; ``None`` if a header is missing."""
    try:
        digest = parse_digest(response.headers.get("Docker-Content-Digest"))
    except InputError:
        return None
    size, media_type = parse_decimal(response.headers.get("Content-Length", "")), media_type_of(response.headers)
    return Descriptor(media_type, digest, size) if size and len(media_type) <= _LONGEST_MEDIA_TYPE else None
