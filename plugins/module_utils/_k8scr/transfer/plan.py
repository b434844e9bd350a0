# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one engine: copies image graphs from any source to any destination.

First it plans, with requests that change nothing; then it carries the plan out. A dry run is a plan that is not
carried out, so both agree by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum

from ..errors import DigestMismatchError, RegistryError, SourceError
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from ..oci.graph import walk_manifests
from ..oci.interfaces import ImageDestination, ImageSource, LayerCompressor, SourceImage
from ..oci.manifest import OCI_CONFIG, OCI_LAYER, Manifest, with_layers


class Action(str, Enum):
    """What becomes of a blob."""

    PRESENT = "present"
    MOUNTED = "mounted"
    SENT = "sent"


@dataclass
class BlobCopy:
    """One blob on its way.

    Attributes:
        descriptor: The blob as it is at the destination, or while that is unknown, at the source.
        action: What becomes of it: planned at first, then what became of it.
        repository: Where it goes to, in the destination's store.
        mount_from: Another repository of that store, which has it.
        origin: The copy of the same blob to another repository of the same store, which it is mounted from.
        layer: Of a layer that is compressed on the way, now or in an earlier run, what it is at the source.
        unknown: Whether it is such a layer, and what it becomes shows when it has arrived.
        arrival: Ends when it is there, or fails.
    """

    descriptor: Descriptor
    action: Action
    repository: str
    mount_from: str | None = None
    origin: BlobCopy | None = None
    layer: Descriptor | None = None
    unknown: bool = False
    arrival: Future[None] | None = None


@dataclass
class ImageCopy:
    """One image on its way from a source to a destination.

    Attributes:
        source: Where it is.
        image: Which it is there.
        destination: Where it goes to.
        tag: The tag that it gets; ``None`` for an image that is known by its digest alone.
        neighbours: Other repositories of the destination's store that may have blobs of it.
        compressor: Compresses layers that are not, where the image allows it; ``None`` leaves them as they are.
        before: The manifest or index that has the tag, or the digest, before the copy.
        root: The digest that the tag has after it; empty while that is not known, for layers are to be compressed.
        manifests: The manifests that are missing at the destination, children before indexes; empty if the
            image is there.
        blobs: What becomes of each blob that these point to.
    """

    source: ImageSource
    image: SourceImage
    destination: ImageDestination
    tag: str | None
    neighbours: Sequence[ImageDestination] = ()
    compressor: LayerCompressor | None = None
    before: Descriptor | None = None
    root: str = ""
    manifests: list[Manifest] = field(default_factory=list)
    blobs: list[BlobCopy] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether something is to be done."""
        return bool(self.manifests)


def plan_image(copy: ImageCopy) -> None:
    """Find out what is to be done for an image; what becomes of its blobs, :func:`plan_blob` finds out of each.

    Raises:
        K8scrError: Its source or its destination does not answer, or the image is not whole.
    """
    copy.before = copy.destination.resolve(copy.tag or copy.image.root.digest)
    if _is_there(copy):
        return
    if copy.image.read:
        copy.image = copy.image.read()
        if _is_there(copy):
            return
    root, here = copy.image.root, copy.destination.repository
    seen: set[tuple[str, int]] = set()
    for manifest in walk_manifests(copy.source, root):
        is_root = manifest.descriptor.digest == root.digest
        if is_root:
            copy.destination.require_support(manifest)
        elif copy.destination.has_manifest(manifest.descriptor):
            continue
        copy.manifests.append(manifest)
        for blob in manifest.blobs:
            if (blob.digest, blob.size) not in seen and copy.destination.takes(blob, copy.source):
                seen.add((blob.digest, blob.size))
                compressed = _to_compress(copy, blob)
                copy.blobs.append(BlobCopy(blob, Action.SENT, here, layer=blob if compressed else None))


def plan_blob(copy: ImageCopy, blob: BlobCopy) -> None:
    """Find out what is to be done for one of an image's blobs.

    A layer that is to be compressed may be there already, compressed at an earlier time or not.

    Raises:
        K8scrError: The destination does not answer.
    """
    layer = blob.layer
    former = copy.compressor.former(layer) if layer and copy.compressor else None
    for known in (former, layer or blob.descriptor):
        if known and _find_there(copy, known, blob):
            blob.descriptor, blob.layer = known, layer if known is former else None
            return
    blob.unknown = layer is not None


def name_root(copy: ImageCopy) -> None:
    """Find out which digest the tag will have, where that depends on what has become of layers."""
    if any(blob.layer for blob in copy.blobs):
        copy.root = "" if any(blob.unknown for blob in copy.blobs) else _named(copy).descriptor.digest


def _to_compress(copy: ImageCopy, blob: Descriptor) -> bool:
    return bool(copy.compressor and copy.image.compressible and blob.media_type == OCI_LAYER)


def _find_there(copy: ImageCopy, known: Descriptor, blob: BlobCopy) -> bool:
    """Whether nothing is to be sent, for the destination's store has it; says so in the plan of the blob."""
    if copy.destination.has_blob(known):
        blob.action = Action.PRESENT
        return True
    for neighbour in copy.neighbours if _can_be_mounted(known) else ():
        if neighbour.has_blob(known):
            blob.action, blob.mount_from = Action.MOUNTED, neighbour.repository
            return True
    return False


def _named(copy: ImageCopy) -> Manifest:
    """The image's manifest, with its layers as they are at the destination."""
    layers = {blob.layer.digest: blob.descriptor for blob in copy.blobs if blob.layer}
    return with_layers(copy.manifests[-1], layers) if layers else copy.manifests[-1]


def _can_be_mounted(blob: Descriptor) -> bool:
    # Distribution takes a blob over by its sha256, and then lacks it by the sha512 that a manifest may name it by.
    return blob.digest.startswith("sha256:")


def require_blob(copy: ImageCopy, blob: BlobCopy) -> None:
    """Do nothing if a blob need not be sent, or the source has it: a copy finds out only when it gets there.

    Raises:
        SourceError: The source lacks it.
        K8scrError: The source does not let us see.
    """
    wanted = blob.layer or blob.descriptor
    if blob.action is Action.SENT and not copy.source.has_blob(wanted):
        raise SourceError(
            f"{copy.source.description} lacks the blob {wanted.digest} of {wanted.size} bytes",
            "It was not saved or pushed whole; do that again",
        )


def share_blobs(copies: Iterable[ImageCopy]) -> None:
    """Let each blob be sent once to a store, and be mounted wherever else it is needed there.

    Args:
        copies: The images in the order in which they will be copied.
    """
    first: dict[tuple[int, str, int, bool], BlobCopy] = {}
    here: dict[tuple[int, str, int, bool, str], BlobCopy] = {}
    for copy in copies:
        store = id(copy.destination.store)
        for blob in copy.blobs:
            digest, size = blob.descriptor.digest, blob.descriptor.size
            # What a layer becomes is another blob than the layer as it is, which may be wanted too. Of two sizes for
            # one digest, one is wrong, and only reading the blob tells which.
            key = (store, digest, size, blob.unknown)
            same_place = here.setdefault((*key, blob.repository), blob)
            origin = first.setdefault(key, blob)
            if blob.action is Action.PRESENT:
                continue
            if same_place is not blob:
                blob.action, blob.origin = Action.PRESENT, same_place
            elif origin is not blob and not blob.mount_from and _can_be_mounted(blob.descriptor):
                blob.action, blob.origin = Action.MOUNTED, origin


def start_blobs(copy: ImageCopy, workers: Executor) -> None:
    """Begin to carry out the plan for an image's blobs; what a blob is mounted from must have been begun before."""
    for blob in copy.blobs:
        if blob.action is not Action.PRESENT or blob.origin:
            blob.arrival = workers.submit(_copy_blob, copy, blob)


def finish_image(copy: ImageCopy) -> None:
    """Wait for an image's blobs, then store its manifests, children before indexes, and at last its tag.

    Raises:
        K8scrError: Something could not be copied; the tag is as it was.
    """
    for blob in copy.blobs:
        if blob.arrival:
            blob.arrival.result()
    for manifest in copy.manifests[:-1]:
        copy.destination.put_manifest(manifest)
    root = _named(copy)
    copy.destination.publish(root, copy.tag)
    copy.root = root.descriptor.digest
    for blob in copy.blobs:
        # A future weighs more than all else that is known of a blob.
        blob.arrival = None


def _copy_blob(copy: ImageCopy, blob: BlobCopy) -> None:
    mount_from = blob.mount_from
    if blob.origin and _arrived(blob.origin):
        blob.descriptor, blob.unknown = blob.origin.descriptor, False
        if blob.action is Action.PRESENT:
            return
        mount_from = blob.origin.repository
    try:
        blob.action = Action.MOUNTED if _put(copy, blob, mount_from) else Action.SENT
    except DigestMismatchError as error:
        if copy.destination.capabilities.verifies_digests:
            raise _find_fault(copy, blob.layer or blob.descriptor, error) from error
        raise


def _put(copy: ImageCopy, blob: BlobCopy, mount_from: str | None) -> bool:
    content = _Content(copy, blob.layer or blob.descriptor)
    if blob.layer is None or copy.compressor is None:
        return copy.destination.put_blob(blob.descriptor, content, mount_from)
    blob.descriptor, mounted = copy.compressor.put(blob.layer, blob.descriptor, content, mount_from)
    blob.unknown = False
    return mounted


def _arrived(blob: BlobCopy) -> bool:
    arrival = blob.arrival
    return arrival is None or arrival.exception() is None


def _is_there(copy: ImageCopy) -> bool:
    """Whether the destination has the image already; sets the root that the tag then has after the copy."""
    image, before = copy.image, copy.before
    copy.root = image.root.digest
    known = (image.root.digest, image.config_digest)
    if before is None or (before.digest not in known and not _has_config(copy, before)):
        return False
    if not copy.destination.is_whole(before):
        return False
    if before.media_type != OCI_CONFIG:
        copy.root = before.digest
    return True


def _has_config(copy: ImageCopy, before: Descriptor) -> bool:
    """Whether what is there is this image with other bytes: an image without a manifest is known by its config."""
    if not copy.image.config_digest or before.media_type == OCI_CONFIG:
        return False
    try:
        config = copy.destination.fetch_manifest(before).config
    except (SourceError, DigestMismatchError):
        # What nobody can use is not this image, and makes way for it.
        return False
    return config is not None and config.digest == copy.image.config_digest


def _find_fault(copy: ImageCopy, blob: Descriptor, refused: DigestMismatchError) -> Exception:
    """Return whose fault it is that the destination got other content than the digest names."""
    what = f"blob {blob.digest} in {copy.source.description}"
    try:
        with copy.source.open_blob(blob) as blocks:
            for _block in verified(blocks, blob.digest, blob.size, what):
                pass
    except DigestMismatchError as error:
        return SourceError(error.message, "Make or copy it again")
    return RegistryError(
        f"{refused.message}, though {copy.source.description} has it undamaged",
        "Something on the way or the registry changed it; run again, and look there if it stays so",
    )


class _Content:
    """Opens a blob's content at its source; see :class:`BlobContent`."""

    def __init__(self, copy: ImageCopy, descriptor: Descriptor) -> None:
        self.what = f"blob {descriptor.digest} from {copy.source.description}"
        self._source = copy.source
        self._descriptor = descriptor

    def __call__(self, offset: int = 0) -> AbstractContextManager[Blocks]:
        return self._source.open_blob(self._descriptor, offset)
