# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interface of bundles as destinations: a folder, an archive or volumes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Protocol, Union

from ..errors import DestinationError
from ..oci.content import BlobContent
from ..oci.descriptor import Descriptor
from ..oci.interfaces import DestinationStore, ImageDestination
from ..oci.manifest import is_nondistributable
from .bundle_format import PARTS_FOLDER, BundleFault, BundleFile, BundleManifest
from .oci_index import entry_names

EXTRAS_FOLDER = "extras"
REGISTRY_FILE = "registry.tar"
"""The path in a bundle of the archive with the registry's image."""
ExtraContent = Union[bytes, BlobContent]


@dataclass(frozen=True)
class VolumeFolder:
    """A volume with the bytes of its files."""

    number: int
    path: Path
    bytes: int


class BundleStore(ImageDestination, DestinationStore, Protocol):
    """A bundle as a destination of images and of other files.

    The order of calls: ``begin``, then images, ``add_file`` and ``remove`` in any order, then ``finish``. Without
    ``finish``, the bundle is incomplete, or the previous one is unchanged. The next run continues with the existing
    data.

    Attributes:
        bundle: The description of the existing bundle; ``None`` without a complete bundle.
        previous: The last complete description, also of a bundle that is incomplete now.
        entries: The entries of ``index.json``, with the published images.
        omitted: The digests of blobs that the bundle may leave out; set it before the first image. Images are whole
            without them.
    """

    bundle: BundleManifest | None
    previous: BundleManifest | None
    entries: list[Descriptor]
    omitted: Container[str]

    def begin(self) -> None:
        """Mark the bundle as incomplete before the first change.

        Raises:
            DestinationError: The mark cannot be written.
        """

    def reserve(self, blobs: Iterable[Descriptor]) -> None:
        """Set the order of the blobs to be written, which makes the bytes of an archive independent of threads.

        Raises:
            DestinationError: The disk is full.
        """

    def will_have(self, blob: Descriptor) -> bool:
        """Whether the bundle has a manifest or a blob, or will have it after ``finish``; its content is not read."""

    def extras(self) -> list[BundleFile]:
        """Return the existing files beside the images. Those of an incomplete bundle are read.

        Raises:
            SourceError: A file cannot be read.
        """

    def add_file(self, path: str, content: ExtraContent, size: int) -> None:
        """Add or replace a file beside the images. The content must stay readable until ``finish``.

        Args:
            path: Its path in the bundle, relative and with ``/``.
            size: Its bytes.

        Raises:
            InputError: The path cannot be used.
            DestinationError: The file cannot be written.
            SourceError: The content cannot be read, or has another size.
        """

    def remove(self, names: Sequence[str], paths: Sequence[str]) -> None:
        """Remove images by name or digest, and other files by path. ``finish`` deletes the blobs that no image needs.

        Raises:
            DestinationError: The bundle cannot be changed.
        """

    def finish(self, bundle: BundleManifest) -> None:
        """Delete the content that no image needs, write the describing files, and mark the bundle as complete.

        Args:
            bundle: What the bundle must contain; its volumes are set by the store.

        Raises:
            DestinationError: The bundle cannot be written, or does not have something that ``bundle`` lists. It stays
                incomplete.
        """

    def volumes(self) -> list[VolumeFolder]:
        """Return the existing volumes; none for a bundle in one folder or archive."""

    def verify(self) -> Iterator[BundleFault]:
        """Read the whole bundle, and yield its faults.

        Raises:
            SourceError: It is not a complete bundle, or cannot be read at all.
        """


def sorted_entries(entries: Iterable[Descriptor]) -> list[Descriptor]:
    """Return the entries of ``index.json`` in an order that is independent of the order of the copies."""
    return sorted(entries, key=lambda entry: (entry_names(entry)[:1], entry.digest))


def without_entries(entries: Iterable[Descriptor], names: Sequence[str]) -> list[Descriptor]:
    """Return the entries except those with these names or digests."""
    removed = set(names)
    return [entry for entry in entries if removed.isdisjoint((*entry_names(entry), entry.digest))]


def delete_leftovers(folder: Path, needed: Container[str]) -> None:
    """Delete the files beside the images that an interrupted run left in a bundle or a volume.

    The folder ``extras`` belongs to the bundle.

    Args:
        needed: The paths of the files that stay.

    Raises:
        OSError: A file cannot be deleted.
    """
    extras = [path for path in (folder / EXTRAS_FOLDER).rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in (folder / REGISTRY_FILE, *extras):
        if path.relative_to(folder).as_posix() not in needed:
            delete_in_folder(path, folder)


def reject_links(folder: Path) -> None:
    """Check that the subfolders of a bundle or a volume are no links: unneeded files in them are deleted.

    Raises:
        DestinationError: One is a link.
    """
    for path in (*map(folder.joinpath, ("blobs", PARTS_FOLDER, EXTRAS_FOLDER)), *folder.glob("blobs/*")):
        if path.is_symlink():
            raise DestinationError(f"{path} is a link that may point outside the folder", "Remove it first")


def delete_in_folder(path: Path, folder: Path) -> None:
    """Delete a file below a folder, if it exists, and the subfolders that are empty then.

    Raises:
        OSError: The file cannot be deleted.
    """
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == folder:
            break
        with suppress(OSError):
            parent.rmdir()


def require_blobs(
    description: str, kept: Mapping[str, Descriptor], has: Container[str], omitted: Container[str]
) -> None:
    """Raise an error if a bundle does not have content that its images need.

    Args:
        kept: The needed content by digest.
        has: The digests of the existing content.

    Raises:
        DestinationError: Content is missing.
    """
    missing = [
        digest
        for digest, each in kept.items()
        if digest not in has and digest not in omitted and not is_nondistributable(each)
    ]
    if missing:
        raise DestinationError(
            f"{description} does not have {len(missing)} blobs of its images, such as {missing[0]}",
            "Another run may have changed it at the same time; run again",
        )


def delete_temporary(folder: Path, paths: Iterable[str]) -> None:
    """Delete the temporary files that a killed run left beside files of a bundle."""
    for path in map(folder.joinpath, paths):
        for temporary in path.parent.glob(f".{escape(path.name)}.*"):
            temporary.unlink()


def verify_bundle(path: Path) -> Iterator[BundleFault]:
    """Read a whole bundle and yield its faults; see :meth:`BundleStore.verify`."""
    from .bundle_check import check_bundle
    from .bundle_source import open_bundle

    with closing(open_bundle(path)) as source:
        yield from check_bundle(source)
