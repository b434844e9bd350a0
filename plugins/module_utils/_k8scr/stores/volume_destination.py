# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write bundles that are divided into volumes: folders to copy to media of a limited size."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import SourceError
from ..files.file_access import Files, FolderFiles, read_file, replace_file, sync_folder, write_errors
from ..oci.descriptor import Descriptor
from ..oci.manifest import MAXIMUM_SIZE, is_manifest
from .bundle_folder import BundleFolder
from .bundle_format import (
    LOCK_FILE,
    SUMS_FILE,
    VOLUME_FILE,
    BundleFault,
    BundleManifest,
    Volumes,
    bundle_content,
    lock_content,
    read_bundle,
    sha256_of,
    sums_content,
    with_identity,
)
from .bundle_store import VolumeFolder, delete_temporary, reject_links, verify_bundle
from .layout_content import reachable
from .oci_index import BUNDLE_FILE, blob_path, layout_files
from .oci_layout import OciLayoutSource
from .volume_folders import VolumeFolders
from .volume_format import part_path, read_volume, volume_content
from .volume_plan import VolumeContent, plan_volumes

_LARGEST_REFERRER = 1 << 20
"""Bytes of the blobs of signatures and other referrers that are on every volume."""
_REFERRERS_SHARE = 32
"""The blobs of referrers take at most this fraction of every volume."""
_DESCRIPTIONS = 4096
"""Bytes for the files with a fixed size that describe a volume."""


class VolumesDestination(BundleFolder):
    """A bundle on volumes as a destination; see :class:`BundleStore`.

    New files are written to a folder of their own, and moved to the volumes when the bundle is finished.

    Args:
        folder: The folder with a folder for each volume.
        volume_size: The bytes that the files of a volume can have.
    """

    def __init__(self, folder: Path, volume_size: int) -> None:
        with write_errors(folder):
            self._folders = VolumeFolders(folder)
            for number in self._folders.numbers():
                reject_links(self._folders.path(number))
        self._volume_size = volume_size
        super().__init__(self._folders.staging)
        self.description = f"the volumes in {folder}"

    def begin(self) -> None:
        super().begin()
        for number in self._folders.numbers():
            content = bundle_content(self._described(number), complete=False)
            replace_file(self._folders.path(number) / BUNDLE_FILE, content)

    def remove(self, names: Sequence[str], paths: Sequence[str]) -> None:
        # A file on a volume is deleted when the bundle is finished.
        self._start()
        super().remove(names, paths)

    def verify(self) -> Iterator[BundleFault]:
        return verify_bundle(self._folders.folder)

    def volumes(self) -> list[VolumeFolder]:
        """Return the existing volumes."""
        found = []
        for number in self._folders.numbers():
            path = self._folders.path(number)
            size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
            found.append(VolumeFolder(number, path, size))
        return found

    def _open_files(self) -> Files:
        previous, _complete = self._read_description()
        return self._joined(previous.volumes if previous else None)

    def _joined(self, volumes: Volumes | None) -> Files:
        return self._folders.joined(f"the volumes in {self._folders.folder}", volumes)

    def _read_description(self) -> tuple[BundleManifest | None, bool]:
        volumes = [FolderFiles(self._folders.path(number)) for number in self._folders.numbers()]
        previous: BundleManifest | None = None
        for files in (FolderFiles(self._folders.staging), *volumes):
            # A damaged description is written again.
            with suppress(SourceError):
                found = read_bundle(files)
                if found and found[0].volumes:
                    previous = found[0]
                    break
        complete = not self._folders.staging.exists() and previous is not None and _are_complete(volumes, previous)
        return previous, complete

    def _described(self, number: int) -> BundleManifest:
        """Return the description on a volume, which stays until the bundle is finished."""
        with suppress(SourceError):
            found = read_bundle(FolderFiles(self._folders.path(number)))
            return found[0] if found else BundleManifest()
        return BundleManifest()

    def _complete(self, bundle: BundleManifest) -> BundleManifest:
        kept = self._kept()
        self._extra_sums(bundle)
        bundle = replace(bundle, volumes=None)
        roots = {entry.digest for entry in self.entries}
        manifests = {digest for digest, each in kept.items() if _is_manifest(each, roots)}
        manifests.update(self._small_referrers(kept))
        every = {
            **{blob_path(digest): kept[digest].size for digest in manifests},
            **{name: len(content) for name, content in layout_files(self.entries).items()},
            LOCK_FILE: len(lock_content(bundle)),
            BUNDLE_FILE: len(bundle_content(bundle)) + _DESCRIPTIONS,
        }
        blobs = [
            {digest: each.size for digest, each in image.items() if digest in kept and digest not in manifests}
            for image in self._images()
        ]
        files = {each.path: each.size for each in bundle.extras}
        before = self.previous.volumes if self.previous else None
        plan = plan_volumes(VolumeContent(every, blobs, files), self._volume_size, before)
        contents = {digest: read_file(self._files, blob_path(digest), MAXIMUM_SIZE) for digest in manifests}
        sums = self._blob_sums(kept)
        self._move(bundle, plan, before)
        cut = {digest: self._folders.cut(digest, parts) for digest, parts in plan.cut.items()}
        final = with_identity(replace(bundle, volumes=replace(plan, cut=cut)))
        self._describe(final, contents, sums)
        self._files = self._joined(final.volumes)
        return final

    def _small_referrers(self, kept: Mapping[str, Descriptor]) -> Iterator[str]:
        """Yield the digests of the small blobs of referrers.

        An image on several volumes is verified, and copied together with its referrers, from the volume at hand.
        """
        layout = OciLayoutSource(self._files)
        found = {
            each
            for entry in self.entries
            if layout.referrers.belongs(entry)
            for each in reachable(layout, [entry], {}).values()
            if each.digest in kept and each.size <= _LARGEST_REFERRER
        }
        left = self._volume_size // _REFERRERS_SHARE
        for each in sorted(found, key=lambda each: (each.size, each.digest)):
            left -= each.size
            if left < 0:
                break
            yield each.digest

    def _move(self, bundle: BundleManifest, plan: Volumes, before: Volumes | None) -> None:
        """Move the files to their volumes."""
        for digest, parts in before.cut.items() if before else ():
            new = plan.cut.get(digest)
            if (new and [part.size for part in new] != [part.size for part in parts]) or digest in plan.blobs:
                self._folders.join(digest, parts)
        # From now on, an interrupted run is resumed with this plan.
        self._write(BUNDLE_FILE, bundle_content(with_identity(replace(bundle, volumes=plan)), complete=False))
        sync_folder(self.folder)
        for digest, number in plan.blobs.items():
            self._folders.move(blob_path(digest), number)
        for path, number in plan.files.items():
            self._folders.move(path, number)

    def _describe(self, bundle: BundleManifest, manifests: Mapping[str, bytes], sums: Mapping[str, str]) -> None:
        """Write the manifests and the describing files to every volume, those that mark them as complete last."""
        volumes = bundle.volumes or Volumes(1, self._volume_size)
        content = bundle_content(bundle)
        for number in range(1, volumes.count + 1):
            folder = self._folders.path(number)
            on_volume = self._sums_on(number, volumes, sums, bundle)
            written = {
                **{blob_path(digest): manifest for digest, manifest in manifests.items()},
                **layout_files(self.entries),
                LOCK_FILE: lock_content(bundle),
                VOLUME_FILE: volume_content(number, volumes),
            }
            on_volume.update({path: sha256_of(each) for path, each in {**written, BUNDLE_FILE: content}.items()})
            written[SUMS_FILE] = sums_content(on_volume)
            for path, each in written.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                if FolderFiles(folder).size(path) != len(each) or not path.startswith("blobs/"):
                    replace_file(folder / path, each)
            earlier = self._described(number).extras
            self._folders.clean(number, on_volume, [each.path for each in (*earlier, *bundle.extras)])
            delete_temporary(folder, [*(path for path in written if "/" not in path), BUNDLE_FILE])
            for parent in sorted({(folder / path).parent for path in on_volume}):
                sync_folder(parent)
        self._folders.delete_from(volumes.count + 1)
        for number in range(1, volumes.count + 1):
            replace_file(self._folders.path(number) / BUNDLE_FILE, content)
            sync_folder(self._folders.path(number))
        shutil.rmtree(self.folder)
        sync_folder(self._folders.folder)

    def _sums_on(
        self, number: int, volumes: Volumes, sums: Mapping[str, str], bundle: BundleManifest
    ) -> dict[str, str]:
        """Return the sums of the blobs, parts and other files on a volume, by path."""
        found = {blob_path(digest): sums[blob_path(digest)] for digest, at in volumes.blobs.items() if at == number}
        for digest, parts in volumes.cut.items():
            for position, part in enumerate(parts, 1):
                if part.volume == number:
                    found[part_path(digest, position)] = part.sha256
        found.update({each.path: each.sha256 for each in bundle.extras if volumes.files[each.path] == number})
        return found


def _is_manifest(descriptor: Descriptor, roots: Container[str]) -> bool:
    is_known = descriptor.digest in roots or is_manifest(descriptor.media_type)
    return is_known and descriptor.size <= MAXIMUM_SIZE


def _are_complete(folders: Sequence[Files], bundle: BundleManifest) -> bool:
    """Whether these folders have the complete volumes of a bundle, in their order."""
    volumes = bundle.volumes
    if volumes is None or len(folders) != volumes.count:
        return False
    try:
        return all(
            read_bundle(files) == (bundle, True) and read_volume(files) == (volumes.id, number)
            for number, files in enumerate(folders, 1)
        )
    except SourceError:
        return False
