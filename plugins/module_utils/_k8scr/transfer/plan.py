# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Immutable plans: what a task has to copy for each image. Planning sends requests that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from ..errors import DigestMismatchError, K8scrError, RegistryError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.graph import walk_manifests
from ..oci.interfaces import SourceImage
from ..oci.manifest import OCI_CONFIG, OCI_LAYER, Manifest, with_layers
from .job import ImageCopy, ImageJob, ReferrersMode

IMAGES_PER_CONNECTION = 8
"""Images in progress for each connection: enough to keep all connections busy, and few enough to bound memory."""

_Found = TypeVar("_Found")
_Name = TypeVar("_Name")


class Action(str, Enum):
    """What a plan does with a blob, or what was done with it."""

    PRESENT = "present"
    MOUNTED = "mounted"
    SENT = "sent"


class StepId(NamedTuple):
    """The position of an image in the task, and of a step in the image's plan."""

    image: int
    step: int


@dataclass(frozen=True)
class BlobResult:
    """The result for one blob.

    Attributes:
        descriptor: The blob at the destination; ``None`` while it is not compressed.
        size: Its size in bytes; the uncompressed size while it is not compressed.
        layer: The uncompressed layer at the source, for a compressed layer.
    """

    descriptor: Descriptor | None
    size: int
    action: Action
    layer: Descriptor | None = None

    @property
    def at_source(self) -> Descriptor | None:
        """The blob at the source."""
        return self.layer or self.descriptor


@dataclass(frozen=True)
class BlobStep:
    """The step for one blob of an image.

    Attributes:
        descriptor: The blob at the destination; the layer at the source while that is ``unknown``.
        mount_from: The repository of the destination's store to mount the blob from.
        waits_for: The step that copies the same blob to the same store. The blob is mounted from its repository, or
            present if that is this image's repository.
        layer: The uncompressed layer at the source, for a layer that is compressed, now or in an earlier task.
        unknown: Whether the layer's descriptor is known only after it was compressed.
    """

    descriptor: Descriptor
    action: Action
    mount_from: str | None = None
    waits_for: StepId | None = None
    layer: Descriptor | None = None
    unknown: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether a task has to execute it."""
        return self.action is not Action.PRESENT or self.waits_for is not None

    @property
    def at_source(self) -> Descriptor:
        """The blob at the source."""
        return self.layer or self.descriptor

    @property
    def result(self) -> BlobResult:
        """The result, if the step succeeds as planned."""
        known = None if self.unknown else self.descriptor
        return BlobResult(known, self.descriptor.size, self.action, self.layer)


@dataclass(frozen=True)
class ImagePlan:
    """The plan for one image.

    Attributes:
        image: The image at the source, loaded if that was necessary.
        before: The manifest or index with the tag, or the digest, before the copy.
        root: The digest with the tag after the copy; empty if it depends on layers that have to be compressed.
        manifests: The missing manifests at the destination, children before indexes; empty if it has the image.
        steps: The steps for the blobs of these manifests.
    """

    job: ImageJob
    image: SourceImage | None = None
    before: Descriptor | None = None
    root: str = ""
    manifests: tuple[Manifest, ...] = ()
    steps: tuple[BlobStep, ...] = ()
    error: K8scrError | None = None

    @property
    def changes(self) -> bool:
        """Whether the task copies anything."""
        return bool(self.manifests)

    @property
    def wants_referrers(self) -> bool:
        """Whether to look for referrers. With AUTO, an unchanged image takes no requests for them."""
        wanted = self.job.referrers
        if wanted is None or self.job.copy is None or self.error or wanted.mode is ReferrersMode.NEVER:
            return False
        return wanted.mode is ReferrersMode.ALWAYS or (self.changes and wanted.source.referrers is not None)

    @property
    def blobs(self) -> tuple[BlobResult, ...]:
        """The results of the steps, if all succeed."""
        return tuple(step.result for step in self.steps)

    def root_manifest(self, blobs: Iterable[BlobResult]) -> Manifest:
        """Return the manifest of the image with the layers as they are at the destination."""
        layers = {blob.layer.digest: blob.descriptor for blob in blobs if blob.layer and blob.descriptor}
        return with_layers(self.manifests[-1], layers) if layers else self.manifests[-1]


def plan_images(jobs: Sequence[ImageJob], connections: int, check_sources: bool) -> list[ImagePlan]:
    """Plan images, with at most ``connections`` requests at once. A plan that fails holds its error.

    Args:
        check_sources: Whether to check that the source has each blob to copy; otherwise the copy does that. Images
            that a source exported for the plan are then deleted, as in check mode.
    """
    plans: list[ImagePlan] = []
    with ThreadPoolExecutor(connections) as workers:
        at_once = connections * IMAGES_PER_CONNECTION
        for first in range(0, len(jobs), at_once):
            drafts = list(workers.map(_draft, jobs[first : first + at_once]))
            errors: dict[int, K8scrError] = {}
            blobs = [(number, blob) for number, draft in enumerate(drafts) for blob in draft.blobs]
            steps = workers.map(partial(_plan_or_fail, drafts, errors, check_sources), blobs)
            done = [[step for step in islice(steps, len(draft.blobs)) if step] for draft in drafts]
            batch = [_complete(draft, done[number], errors.get(number)) for number, draft in enumerate(drafts)]
            for plan in batch:
                if check_sources or not plan.changes:
                    plan.job.unload()
            plans += batch
    return plans


def plan_again(plan: ImagePlan) -> ImagePlan:
    """Plan an image again after the destination lost content that the plan or its execution had found there.

    The new plan stores all manifests, and has a step for each of their blobs. No step waits for another.

    Raises:
        K8scrError: The source or the destination cannot be read.
    """
    copy, image = plan.job.copy, plan.image
    if copy is None or image is None:
        return plan
    image = _load(copy, image)
    manifests, blobs = _find_content(copy, image, all_manifests=True)
    draft = _Draft(replace(plan, image=image, root=image.root.digest, manifests=manifests), copy, blobs)
    return _complete(draft, [_plan_blob(copy, image, blob) for blob in blobs], None)


@dataclass(frozen=True)
class _Draft:
    """A plan without steps, and the blobs to plan them for."""

    plan: ImagePlan
    copy: ImageCopy | None = None
    blobs: tuple[Descriptor, ...] = ()


def _draft(job: ImageJob) -> _Draft:
    copy, before = job.copy, None
    if copy is None:
        return _Draft(ImagePlan(job, error=job.error))
    try:
        image = copy.image
        before, has_tag = _find_before(copy, image)
        if before and not has_tag:
            # If all content exists, only the root is stored again, with the tag. A damaged image is replaced.
            if _found(False, partial(copy.destination.is_whole, tagged=False), before):
                with suppress(SourceError, DigestMismatchError):
                    root = copy.destination.fetch_manifest(before)
                    return _Draft(ImagePlan(job, image, before, before.digest, (root,)), copy)
            before = None
        existing = _find_existing(copy, image, before)
        if existing is None and image.deferred:
            image = _load(copy, image)
            existing = _find_existing(copy, image, before)
        if existing is not None:
            return _Draft(ImagePlan(job, image, before, existing))
        manifests, blobs = _find_content(copy, image, all_manifests=False)
        return _Draft(ImagePlan(job, image, before, image.root.digest, manifests), copy, blobs)
    except K8scrError as error:
        return _Draft(ImagePlan(job, before=before, error=error))


def _find_before(copy: ImageCopy, image: SourceImage) -> tuple[Descriptor | None, bool]:
    """Return the image at the destination, and whether it has the tag to set, if any."""
    digest = image.root.digest
    found = _found(None, copy.destination.resolve, copy.tag_to_set or digest)
    if copy.digest_tag is None or (found is not None and found.digest == digest):
        return found, True
    return _found(None, copy.destination.resolve, digest), False


def _found(missing: _Found, look_up: Callable[[_Name], _Found], name: _Name) -> _Found:
    """Look up content at the destination, and treat content that the destination cannot read as missing.

    After a full storage, distribution 2.8 responds with 500 to requests for content that it stored incompletely. The
    copy repairs it. If the destination has another fault, the copy fails.
    """
    try:
        return look_up(name)
    except RegistryError as error:
        if not error.is_unreadable:
            raise
        return missing


def _load(copy: ImageCopy, image: SourceImage) -> SourceImage:
    if image.deferred is None:
        return image
    loaded = image.deferred.load(image)
    if copy.pinned:
        copy.pinned.require(loaded)
    return loaded


def _find_existing(copy: ImageCopy, image: SourceImage, before: Descriptor | None) -> str | None:
    """Return the digest of the image at the destination, or ``None`` if the destination does not have all of it."""
    known = (image.root.digest, image.config_digest)
    if before is None or (before.digest not in known and not _has_config(copy, image, before)):
        return None
    if not _found(False, partial(copy.destination.is_whole, tagged=bool(copy.tag_to_set)), before):
        return None
    return image.root.digest if before.media_type == OCI_CONFIG else before.digest


def _has_config(copy: ImageCopy, image: SourceImage, before: Descriptor) -> bool:
    """Whether the existing image has the same config: images without a manifest are identified by their config."""
    if not image.config_digest or before.media_type == OCI_CONFIG:
        return False
    try:
        config = copy.destination.fetch_manifest(before).config
    except (SourceError, DigestMismatchError):
        # A damaged image is replaced.
        return False
    return config is not None and config.digest == image.config_digest


def _find_content(
    copy: ImageCopy, image: SourceImage, all_manifests: bool
) -> tuple[tuple[Manifest, ...], tuple[Descriptor, ...]]:
    """Return the missing manifests at the destination, or all manifests, and their blobs."""
    manifests, blobs = [], dict[tuple[str, int], Descriptor]()
    for manifest in walk_manifests(copy.source, image.root):
        if manifest.descriptor.digest == image.root.digest:
            copy.destination.require_support(manifest)
        elif not all_manifests and _found(False, copy.destination.has_manifest, manifest.descriptor):
            continue
        manifests.append(manifest)
        for blob in manifest.blobs:
            if (blob.digest, blob.size) in blobs or blob.digest in copy.omitted:
                continue
            if copy.destination.takes(blob, copy.source):
                blobs[blob.digest, blob.size] = blob
    return tuple(manifests), tuple(blobs.values())


def _plan_or_fail(
    drafts: Sequence[_Draft], errors: dict[int, K8scrError], check_sources: bool, each: tuple[int, Descriptor]
) -> BlobStep | None:
    """Return the step for a blob; ``None`` after an error of the same image, which is in ``errors``."""
    number, blob = each
    copy, image = drafts[number].copy, drafts[number].plan.image
    if number in errors or copy is None or image is None:
        return None
    try:
        step = _plan_blob(copy, image, blob)
        if check_sources and step.action is Action.SENT and not copy.source.has_blob(step.at_source):
            if image.sparse and image.sparse.omission(step.at_source):
                return step
            raise (image.sparse and image.sparse.absence(step.at_source)) or SourceError(
                f"{copy.source.description} does not have the blob {step.at_source.digest} of"
                f" {step.at_source.size} bytes",
                "Save or push the image again, with all of its layers",
            )
        return step
    except K8scrError as error:
        errors.setdefault(number, error)
        return None


def _plan_blob(copy: ImageCopy, image: SourceImage, blob: Descriptor) -> BlobStep:
    """Return the step for a blob. An uncompressed layer may exist compressed by an earlier task, or uncompressed."""
    compressor = copy.compressor if image.compressible and blob.media_type == OCI_LAYER else None
    compressed = compressor.cached(blob) if compressor else None
    for known, layer in ((compressed, blob), (blob, None)):
        step = _find_at_destination(copy, known, layer) if known else None
        if step:
            return step
    if compressor:
        return BlobStep(blob, Action.SENT, layer=blob, unknown=True)
    return BlobStep(blob, Action.SENT)


def _find_at_destination(copy: ImageCopy, known: Descriptor, layer: Descriptor | None) -> BlobStep | None:
    if _found(False, copy.destination.has_blob, known):
        return BlobStep(known, Action.PRESENT, layer=layer)
    for neighbor in copy.neighbors if can_be_mounted(known) else ():
        if _found(False, neighbor.has_blob, known):
            return BlobStep(known, Action.MOUNTED, neighbor.repository, layer=layer)
    return None


def _complete(draft: _Draft, steps: Sequence[BlobStep], error: K8scrError | None) -> ImagePlan:
    if error:
        return ImagePlan(draft.plan.job, before=draft.plan.before, error=error)
    plan = replace(draft.plan, steps=tuple(steps))
    if any(step.unknown for step in steps):
        return replace(plan, root="")
    if any(step.layer for step in steps):
        return replace(plan, root=plan.root_manifest(plan.blobs).descriptor.digest)
    return plan


def can_be_mounted(blob: Descriptor) -> bool:
    """Return whether registries mount a blob."""
    # distribution mounts a blob under its sha256 only, and then does not have it under the sha512 in the manifest.
    return blob.digest.startswith("sha256:")
