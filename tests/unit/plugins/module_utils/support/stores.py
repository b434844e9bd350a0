# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write and read whole images of a store, without a plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import BLOCK_SIZE, BlobContent, Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph import walk_manifests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import ImageDestination, ImageSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest

from .images import Image


def blob(digest: str, content: bytes) -> Descriptor:
    """Return the descriptor of a blob."""
    return Descriptor("application/octet-stream", digest, len(content))


def content_of(content: bytes) -> BlobContent:
    """Return a function that opens this content, like those of a source."""
    return Content(content)


class Content:
    """Opens a content, and records the requested offsets."""

    what = "blob from the test"

    def __init__(self, content: bytes, block_size: int = BLOCK_SIZE) -> None:
        self.content = content
        self.offsets: list[int] = []
        self._block_size = block_size

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        """Open the content at ``offset`` (bytes)."""
        self.offsets.append(offset)
        rest = memoryview(self.content)[offset:]
        yield (rest[start : start + self._block_size] for start in range(0, len(rest), self._block_size))


def put(destination: ImageDestination, image: Image, tag: str | None) -> None:
    """Store a whole image: its blobs, then its manifests, its root last."""
    for digest, content in image.contents.items():
        try:
            manifest = parse_manifest(content)
        except InputError:
            destination.put_blob(blob(digest, content), content_of(content))
        else:
            if digest == image.digest:
                destination.publish(manifest, tag)
            else:
                destination.put_manifest(manifest)


def read_blob(source: ImageSource, descriptor: Descriptor, offset: int = 0) -> bytes:
    """Return a blob's content."""
    with source.open_blob(descriptor, offset) as blocks:
        return b"".join(bytes(block) for block in blocks)


def read_image(source: ImageSource, root: Descriptor) -> dict[str, bytes]:
    """Return the manifests and blobs of an image at a source, by digest."""
    contents: dict[str, bytes] = {}
    for manifest in walk_manifests(source, root):
        contents.update({part.digest: read_blob(source, part) for part in manifest.blobs})
        contents[manifest.descriptor.digest] = manifest.content
    return contents
