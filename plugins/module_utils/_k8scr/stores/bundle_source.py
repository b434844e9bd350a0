# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read bundles in place: folders, archives and volumes. Nothing is joined on disk."""

from __future__ import annotations

from pathlib import Path

from ..errors import SourceError
from ..files.file_access import Files, FolderFiles, closed_on_failure
from .bundle_format import BUNDLE_FILE, complete_bundle
from .oci_index import INDEX_FILE, entry_names, full_name
from .oci_layout import OciLayoutSource


class BundleSource(OciLayoutSource):
    """A bundle as a source of images.

    Attributes:
        bundle: Its description.
        missing_volumes: The numbers of the volumes that are not at hand.

    Raises:
        SourceError: The bundle is incomplete or damaged.
    """

    def __init__(self, files: Files, missing_volumes: tuple[int, ...] = ()) -> None:
        self.bundle = complete_bundle(files)
        self.missing_volumes = missing_volumes
        super().__init__(files)
        self._check_names()

    def _check_names(self) -> None:
        """Check that ``index.json`` has the images of the bundle, and no other images with full names."""
        stated = {image.name: image.digest for image in self.bundle.images}
        found = {name: entry.digest for entry in self.entries for name in entry_names(entry)}
        unnamed = {entry.digest for entry in self.entries if not entry_names(entry)}
        for name, digest in stated.items():
            # An image without a tag has no name in index.json.
            if found.get(name, digest if digest in unnamed else None) != digest:
                raise self._changed(name, found.get(name, "no image"), digest)
        for entry in self.entries:
            if full_name(entry) and stated.keys().isdisjoint(entry_names(entry)):
                raise self._changed(entry_names(entry)[0], entry.digest, "no image")

    def _changed(self, name: str, found: str, stated: str) -> SourceError:
        return SourceError(
            f"{INDEX_FILE} in {self.description} has {found} for {name}, and {BUNDLE_FILE} has {stated}",
            "The bundle was changed after k8scr_bundle finished it; copy or create it again",
        )


def open_bundle(path: Path, tmp_dest: str | None = None) -> BundleSource:
    """Open a bundle: a folder, an archive, a volume, or a folder whose subfolders are volumes.

    Args:
        path: The folder or the archive.
        tmp_dest: The folder for an archive that has to be unpacked; by default TMPDIR or ``/var/tmp``.

    Raises:
        SourceError: There is no complete bundle at the path.
    """
    if path.is_dir():
        return BundleSource(FolderFiles(path))
    from ..files.tar_reader import TarFiles

    files = TarFiles(path, tmp_dest=tmp_dest)
    with closed_on_failure(files):
        return BundleSource(files)
