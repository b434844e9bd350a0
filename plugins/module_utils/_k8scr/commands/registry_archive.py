# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive with the registry's image in a bundle, for the nodes of a cluster that has no registry yet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files.file_access import FolderFiles
from ..oci.digest import digest_of_blocks, split_digest
from ..registry.upstreams import Upstreams
from ..stores.bundle_format import BundleFile
from ..stores.bundle_store import REGISTRY_FILE
from ..stores.oci_archive import OciArchiveDestination
from ..transfer.execute import Transfer
from ..transfer.job import ImageJob
from ..transfer.listener import Listener
from ..transfer.report import ImageResult
from .bundle_jobs import BundleJobs
from .image_sources import ImageSources
from .source_settings import SourceSettings

if TYPE_CHECKING:
    from ..transfer.lock import ImageLock


@dataclass(frozen=True)
class RegistryArchive:
    """The archive after a task.

    Attributes:
        file: Its entry in the description of the bundle; in check mode, without size and sum if it would be written.
        local: The new archive; ``None`` if the bundle has it already, and in check mode.
        results: The result for the image.
    """

    file: BundleFile | None = None
    local: Path | None = None
    results: Sequence[ImageResult] = ()


@dataclass(frozen=True)
class RegistryImage:
    """The image for the archive; the archive is empty until :meth:`write`.

    Attributes:
        job: Copies the image to the archive; a job with an error if the image cannot be read.
        folder: The folder of the archive.
    """

    job: ImageJob
    folder: Path

    @classmethod
    def read(
        cls,
        settings: SourceSettings,
        folder: Path,
        upstreams: Upstreams,
        lock: ImageLock | None,
        exit_stack: ExitStack,
    ) -> RegistryImage:
        """Find the image.

        Args:
            settings: The sources of a task with the entry of the image alone.
            exit_stack: Closes the sources after the transfer.

        Raises:
            InputError: The entry selects several images.
        """
        archive = exit_stack.enter_context(closing(OciArchiveDestination(folder / REGISTRY_FILE)))
        images = BundleJobs(archive).read(ImageSources(settings, upstreams, lock, exit_stack))
        if len(images) != 1:
            raise InputError(
                f"registry_image selects {len(images)} images from {settings.images[0].source}",
                "Write the name of one after the path, as in oci:PATH:NAME",
            )
        return cls(images[0], folder)

    def write(self, existing: BundleFile | None, listener: Listener, check_mode: bool) -> RegistryArchive:
        """Write the archive, unless the existing one in the bundle has the same image."""
        copy = self.job.copy
        if existing and copy and existing.image == copy.image.identity:
            return RegistryArchive(existing)
        # With one connection, the order of the blobs in the archive is always the same.
        results = Transfer(1, check_mode).run([self.job], listener)
        if copy is None or any(result.error for result in results):
            return RegistryArchive(results=results)
        identity = copy.image.identity
        if check_mode:
            return RegistryArchive(BundleFile(REGISTRY_FILE, 0, "", identity), None, results)
        files = FolderFiles(self.folder)
        with files.open(REGISTRY_FILE) as blocks:
            sha256 = split_digest(digest_of_blocks(blocks))[1]
        file = BundleFile(REGISTRY_FILE, files.size(REGISTRY_FILE) or 0, sha256, identity)
        return RegistryArchive(file, self.folder / REGISTRY_FILE, results)
