# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write a bundle: mark it as incomplete before the first change, and as complete after the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..files.file_access import FolderFiles
from ..oci.content import Blocks
from ..stores.bundle_format import BundleFile, BundleImage, BundleManifest
from ..stores.bundle_store import BundleStore
from .bundle_images import BundleImages
from .far_side import FarSide, recorded_base
from .plan import Action, ImagePlan


class LocalFile:
    """The content of a local file for a bundle; see :class:`BlobContent`."""

    def __init__(self, path: Path) -> None:
        self.what = str(path)
        self._files = FolderFiles(path.resolve().parent)
        self._name = path.resolve().name

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        """Open the content at ``offset`` (bytes)."""
        with self._files.open(self._name, offset) as blocks:
            yield blocks


@dataclass(eq=False)
class BundleWriter:
    """The changes of a task to a bundle.

    Attributes:
        store: The bundle.
        volume_size: The bytes for the files of a volume; ``None`` for a bundle without volumes.
        far_side: What the other side has; ``None`` for a complete bundle.
        is_begun: Whether the bundle is marked as incomplete.
        before: The bundle before the task, if it was complete.
        extras: The files beside the images before the task.
    """

    store: BundleStore
    volume_size: int | None
    far_side: FarSide | None
    check_mode: bool
    is_begun: bool = field(default=False, init=False)
    before: BundleManifest | None = field(init=False)
    extras: list[BundleFile] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.store.bundle
        self.extras = self.store.extras()

    def prepare(self, plans: Sequence[ImagePlan]) -> None:
        """Begin the change before the first image is copied; see :attr:`Transfer.before_copy`."""
        if self.check_mode:
            return
        self._begin()
        steps = (step for plan in plans if not plan.error for step in plan.steps)
        blobs = {step.descriptor.digest: step.descriptor for step in steps if step.action is Action.SENT}
        self.store.reserve(blobs.values())

    def finish(
        self, images: BundleImages, extras: Sequence[BundleFile], contents: Mapping[str, Path]
    ) -> BundleManifest | None:
        """Complete the bundle if that changes it, except in check mode.

        Args:
            images: The images that it must have.
            extras: The other files that it must have.
            contents: The local files to copy for new or changed ones, by their paths in the bundle.

        Returns:
            The description of the new bundle; ``None`` if the existing one is complete and stays unchanged.

        Raises:
            DestinationError: The bundle cannot be written. It stays incomplete.
        """
        before = self.before
        after = self._description(images, extras)
        same = before is not None and _comparable(before) == _comparable(after)
        size_before = before.volumes.size if before and before.volumes else None
        if same and not self.is_begun and not contents and not images.removed and size_before == self.volume_size:
            return None
        if not self.check_mode:
            self._write(images, after, contents)
        return after

    def _write(self, images: BundleImages, after: BundleManifest, contents: Mapping[str, Path]) -> None:
        kept = {each.path for each in after.extras}
        gone = [each.path for each in self.extras if each.path not in kept]
        self._begin()
        self.store.remove(images.removed_names, gone)
        for extra in after.extras:
            if extra.path in contents:
                self.store.add_file(extra.path, LocalFile(contents[extra.path]), extra.size)
        self.store.omitted = frozenset(after.omitted)
        self.store.finish(after)

    def _begin(self) -> None:
        if not self.is_begun:
            self.store.begin()
            self.is_begun = True

    def _description(self, images: BundleImages, extras: Sequence[BundleFile]) -> BundleManifest:
        if self.far_side:
            base, omitted = self.far_side.base_of(images.missing)
        else:
            base, omitted = recorded_base(self.store.previous, images.missing)
        left_out = self._left_out(images)
        known = {each.name for each in base}
        base = (*base, *(each for each in left_out if each.name not in known))
        return BundleManifest(images.images, base, omitted, tuple(extras), left_out=left_out)

    def _left_out(self, images: BundleImages) -> tuple[BundleImage, ...]:
        """Return the images that the bundle leaves out: those of this task and, without ``prune``, of earlier ones."""
        previous = self.store.previous.left_out if self.store.previous and not images.prune else ()
        found = {each.name: each for each in previous}
        found.update(self.far_side.left_out if self.far_side else {})
        for each in images.images:
            found.pop(each.name, None)
        return tuple(found[name] for name in sorted(found))


def _comparable(bundle: BundleManifest) -> tuple[object, ...]:
    """Return what identifies the content of a bundle, apart from its volumes."""
    lists = bundle.images, bundle.base, bundle.left_out
    images, base, left_out = (sorted(each, key=lambda image: image.name) for each in lists)
    omitted = {digest: (blob.size, sorted(blob.repositories)) for digest, blob in bundle.omitted.items()}
    return images, base, left_out, omitted, sorted(bundle.extras, key=lambda extra: extra.path)
