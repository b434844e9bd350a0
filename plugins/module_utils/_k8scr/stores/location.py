# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse and open sources and destinations in the notation of containers-transports(5).

Ansible sends modules in a zip archive. Python compiles all modules that it imports from there in each task, even twice
(python/cpython#141276). Therefore this file and its users import stores only on demand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

from ..errors import DestinationError, InputError, SourceError
from ..files.file_access import FolderFiles, closed_on_failure, read_errors
from ..oci.reference import CREDENTIALS_ADVICE, parse_reference
from ..redaction import passwords_in
from .docker_daemon import TRANSPORT as DOCKER_DAEMON
from .oci_index import BUNDLE_FILE, INDEX_FILE

if TYPE_CHECKING:
    from ..files.tar_reader import TarFiles
    from .bundle_store import BundleStore
    from .chart_archive import ChartArchiveSource
    from .docker_archive import DockerArchiveSource
    from .oci_archive import OciArchiveDestination
    from .oci_layout import OciLayoutDestination, OciLayoutSource

    FileSource = Union[OciLayoutSource, DockerArchiveSource, ChartArchiveSource]
    FileDestination = Union[OciLayoutDestination, OciArchiveDestination]

_DIR_FILES = ("version", "manifest.json")
BUNDLE = "bundle"
_TRANSPORTS = ("oci", "oci-archive", "docker-archive", BUNDLE)
_CHART = "chart"
"""The transport of a source only: a chart's archive with the path after it, which may contain colons."""
_KNOWN = (
    "Write "
    + ", ".join(f"{transport}:PATH[:NAME]" for transport in _TRANSPORTS)
    + f", {_CHART}:FILE.tgz, a path that starts with / or ./, or the name of an image in the Docker daemon"
)


@dataclass(frozen=True)
class Location:
    """The location of images: a source or a destination.

    Attributes:
        transport: The transport; empty for a path without one, which :func:`open_source` detects.
        path: The path; empty for the Docker daemon, which has options of its own.
        name: The name of one image; ``None`` for all.
    """

    transport: str
    path: Path
    name: str | None = None

    def __str__(self) -> str:
        prefix = f"{self.transport}:" if self.transport else ""
        return prefix if self.transport == DOCKER_DAEMON else f"{prefix}{self.path}"


def parse_location(text: str) -> Location:
    """Parse a location. A name without transport is the name of an image in the Docker daemon.

    Raises:
        InputError: The text is neither a location nor a reference.
    """
    if any(passwords_in(text)):
        raise InputError("the location of an image has credentials", CREDENTIALS_ADVICE)
    transport, colon, rest = text.partition(":")
    if text.startswith(("/", "./", "../", "~")):
        transport, rest = "", text
        if os.path.exists(os.path.expanduser(text)):
            return Location(transport, Path(os.path.expanduser(text)))
    elif colon and transport == DOCKER_DAEMON:
        return Location(DOCKER_DAEMON, Path(), rest or None)
    elif colon and transport == _CHART and rest:
        return Location(_CHART, Path(os.path.expanduser(rest)))
    elif not colon or transport not in _TRANSPORTS:
        try:
            parse_reference(text)
        except InputError as error:
            raise InputError(f"{text!r:.300} is not a valid location of an image", _KNOWN) from error
        return Location(DOCKER_DAEMON, Path(), text)
    path, _colon, name = rest.partition(":")
    if not path:
        raise InputError(f"{text!r:.300} has no path", _KNOWN)
    if transport == "docker-archive" and name and not name.startswith("@"):
        # Names in Docker archives are complete references.
        name = str(parse_reference(name))
    return Location(transport, Path(os.path.expanduser(path)), name or None)


def open_source(location: Location, tmp_dest: str | None = None) -> FileSource:
    """Open a layout or an archive as a source of images.

    Args:
        tmp_dest: The folder for an archive that has to be unpacked; by default TMPDIR or ``/var/tmp``.

    Raises:
        SourceError: The path does not exist, cannot be read, or has another format.
    """
    from .oci_layout import OciLayoutSource

    path = location.path
    with read_errors(path):
        exists = path.exists()
    if not exists:
        raise SourceError(
            f"{path} does not exist", "Sources are read on the host that runs the module; check the path there"
        )
    if location.transport == _CHART:
        from .chart_archive import ChartArchiveSource

        return ChartArchiveSource(path)
    if location.transport == "oci" and not path.is_dir():
        raise SourceError(
            f"{path} is not a folder", "For an archive, write oci-archive: or docker-archive: before its path"
        )
    if location.transport.endswith("-archive") and path.is_dir():
        raise SourceError(f"{path} is a folder, not an archive", "For an OCI layout, write oci: before its path")
    if location.transport == BUNDLE or (not location.transport and path.is_dir()):
        from .bundle_source import is_bundle, open_bundle

        if location.transport or is_bundle(path):
            return open_bundle(path, tmp_dest)
    if path.is_dir():
        _reject_dir_folder(path)
        return OciLayoutSource(FolderFiles(path))
    from ..files.tar_reader import TarFiles

    files = TarFiles(path, tmp_dest=tmp_dest)
    with closed_on_failure(files):
        if not location.transport and files.size(BUNDLE_FILE) is not None:
            from .bundle_source import open_bundle_files

            return open_bundle_files(files)
        if (location.transport or _detect(files)) == "oci-archive":
            return OciLayoutSource(files)
        from .docker_archive import DockerArchiveSource

        return DockerArchiveSource(files)


def open_destination(location: Location) -> FileDestination:
    """Open a layout or an archive as a destination of images. Nothing is written yet.

    Raises:
        InputError: The location has no transport.
        DestinationError: A file or a folder of another kind exists at the path.
    """
    if not location.transport:
        raise InputError(f"the destination {location.path} has no transport", _KNOWN)
    if location.transport == BUNDLE:
        raise InputError(f"{location} cannot be a destination", "Create bundles with k8scr_bundle")
    if location.transport == _CHART:
        raise InputError(f"{location} is not a destination", "Use helm pull to fetch a chart")
    if location.transport == "oci":
        from .oci_layout import OciLayoutDestination

        return OciLayoutDestination(location.path)
    if location.transport == "oci-archive":
        from .oci_archive import OciArchiveDestination

        return OciArchiveDestination(location.path)
    from .docker_archive import DockerArchiveDestination

    return DockerArchiveDestination(location.path)


def open_bundle_store(location: Location, volume_size: int | None = None) -> BundleStore:
    """Open a bundle as a destination. Nothing is written yet.

    Args:
        location: A path without a transport or with ``oci`` for a folder, or with ``oci-archive`` for an archive.
        volume_size: The bytes that the files of a volume can have; ``None`` for a bundle without volumes.

    Raises:
        InputError: The location or the size cannot be used.
        DestinationError: A file or a folder of another kind exists at the path.
    """
    if location.transport == DOCKER_DAEMON:
        raise InputError(
            f"{location.name or location} is not the path of a bundle",
            "Begin the path of a folder with / or ./, or write oci-archive:PATH",
        )
    if location.transport not in ("", "oci", "oci-archive"):
        raise InputError(f"{location} cannot be a bundle", "Write the path of a folder, or oci-archive:PATH")
    if location.name is not None:
        raise InputError(
            f"{location}:{location.name} has a name after the path of the bundle",
            "Write the path alone, without a colon in it; the images of a bundle keep their names",
        )
    if location.transport == "oci-archive":
        if volume_size is not None:
            raise InputError(f"{location} cannot be divided into volumes", "Write the path of a folder")
        from .bundle_archive import BundleArchive

        return BundleArchive(location.path)
    _reject_volumes(location.path, volume_size is not None)
    if volume_size is not None:
        from .volume_destination import VolumesDestination

        return VolumesDestination(location.path, volume_size)
    from .bundle_folder import BundleFolder

    return BundleFolder(location.path)


def _reject_volumes(folder: Path, divided: bool) -> None:
    """Raise an error for a volume, and for a folder with volumes if the bundle is not divided."""
    from .bundle_format import VOLUME_FILE

    with read_errors(folder):
        if (folder / VOLUME_FILE).is_file():
            raise DestinationError(
                f"{folder} is a volume of a bundle", "Write the folder that contains all volumes, and set volumes"
            )
        if not divided and any(folder.glob(f"volume-*/{VOLUME_FILE}")):
            raise DestinationError(f"{folder} has the volumes of a bundle", "Set volumes, or choose a new folder")


def _reject_dir_folder(path: Path) -> None:
    """Raise an error if a folder has the format ``dir:`` of skopeo, or contains such folders, as skopeo sync writes."""
    with read_errors(path):
        folders = [] if (path / INDEX_FILE).exists() else [path, *sorted(path.iterdir())]
        found = next((each for each in folders if all((each / name).is_file() for name in _DIR_FILES)), None)
    if found:
        raise SourceError(
            f"{found} has skopeo's format dir:, which is not an OCI layout",
            f"Convert it: skopeo copy --all dir:{found} oci:LAYOUT:NAME",
        )


def _detect(files: TarFiles) -> str:
    """Return the transport for an archive."""
    from .docker_archive import DockerArchiveSource
    from .docker_manifest import MANIFEST_FILE

    is_docker = files.size(MANIFEST_FILE) is not None
    if files.size(INDEX_FILE) is not None:
        # Current Docker writes both. With uncompressed layers, the manifests in index.json are not from a registry.
        uncompressed = is_docker and all(image.compressible for image in DockerArchiveSource(files).images())
        return "docker-archive" if uncompressed else "oci-archive"
    if is_docker:
        return "docker-archive"
    raise SourceError(
        f"{files.path} is not an image archive: it has neither {INDEX_FILE} nor {MANIFEST_FILE}",
        f"Create it with docker save or skopeo copy; for the archive of a chart, write {_CHART}: before its path",
    )
