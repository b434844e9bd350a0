# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the signatures of an image at its source: those of cosign 2 under a tag, and referrers of cosign 2 and 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import DigestMismatchError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import read_verified, split_digest
from ..oci.interfaces import ImageSource, Referrers
from ..oci.manifest import MAXIMUM_SIZE, OCI_CONFIG
from .bundle import BUNDLE, PREDICATE_ANNOTATION, SIGNS_IMAGE, read_bundle
from .signature import InvalidSignatureError, Signature
from .simple_signing import PAYLOAD, read_payload

NOTATION = "application/vnd.cncf.notary.signature"
"""The artifact type of the signatures of notation."""
_COSIGN_2 = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""The artifact type of cosign 2's signatures that are referrers."""
_POSSIBLE_TYPES = frozenset(("", _COSIGN_2, "application/vnd.oci.empty.v1+json", OCI_CONFIG))
"""The artifact types of possible signatures. Some registries list the config's media type, some clients list none."""
_MOST_SIGNATURES = 100
"""Signatures of one image that are read, and artifacts. Each build of an image without changes may add one."""


class Signatures:
    """The signatures of one image.

    Attributes:
        rejected: The reasons why signatures cannot be used, each with the signature's origin.
        notation: Whether the image has a signature of notation.

    Args:
        referrers: The referrers of ``source``.
        digest: The digest of the image's manifest or index.
    """

    def __init__(self, source: ImageSource, referrers: Referrers, digest: str) -> None:
        self._source = source
        self._referrers = referrers
        self._digest = digest
        self._left = _MOST_SIGNATURES
        self.rejected: list[str] = []
        self.notation = False

    def find(self) -> Iterator[Signature]:
        """Yield the signatures, newest first; more are read from the source only when they are needed.

        Raises:
            K8scrError: The source cannot be read.
        """
        tag = signature_tag(self._digest)
        tagged = self._referrers.tagged(tag)
        if tagged:
            yield from self._in_manifest(tagged, f"tag {tag}")
        for entry in reversed(self._referrers.of(self._digest)):
            yield from self._of_referrer(entry)

    def _of_referrer(self, entry: dict[str, Any]) -> Iterator[Signature]:
        kind = str(entry.get("artifactType") or "")
        self.notation = self.notation or kind == NOTATION
        if kind not in _POSSIBLE_TYPES and not kind.startswith(BUNDLE):
            return
        descriptor = Descriptor.from_json(entry)
        if descriptor.annotations.get(PREDICATE_ANNOTATION, SIGNS_IMAGE) == SIGNS_IMAGE:
            yield from self._in_manifest(descriptor, f"referrer {descriptor.digest}")

    def _in_manifest(self, descriptor: Descriptor, origin: str) -> Iterator[Signature]:
        if not self._may_read(origin):
            return
        try:
            manifest = self._source.fetch_manifest(descriptor)
        except (SourceError, DigestMismatchError) as error:
            # Another signature may be undamaged.
            self.rejected.append(f"{origin}: {error.message}")
            return
        # cosign appends signatures to those of earlier signers.
        for layer in reversed(manifest.layers):
            if layer.media_type != PAYLOAD and not layer.media_type.startswith(BUNDLE):
                continue
            if not self._may_read(origin):
                return
            try:
                signature = self._read(layer, origin)
            except (SourceError, DigestMismatchError) as error:
                self.rejected.append(f"{origin}: {error.message}")
            else:
                if signature:
                    yield signature

    def _may_read(self, origin: str) -> bool:
        """Count an artifact or a signature, and return whether the limit allows to read it."""
        self._left -= 1
        if self._left < 0:
            self.rejected.append(f"{origin}: only {_MOST_SIGNATURES} signatures and artifacts of an image are checked")
        return self._left >= 0

    def _read(self, layer: Descriptor, origin: str) -> Signature | None:
        if layer.size > MAXIMUM_SIZE:
            raise InvalidSignatureError(f"it has more than {MAXIMUM_SIZE} bytes")
        what = f"signature {layer.digest} in {self._source.description}"
        with self._source.open_blob(layer) as blocks:
            content = read_verified(blocks, layer.digest, layer.size, what)
        return read_payload(layer, content, origin) if layer.media_type == PAYLOAD else read_bundle(content, origin)


def signature_tag(digest: str) -> str:
    """Return cosign's tag for the signatures of a manifest."""
    algorithm, encoded = split_digest(digest)
    return f"{algorithm}-{encoded}.sig"
