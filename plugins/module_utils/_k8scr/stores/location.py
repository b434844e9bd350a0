# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources and destinations as users write them, in the notation of containers-transports(5)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from ..errors import InputError, SourceError
from ..files.file_access import Folder, closed_on_failure, reading
from ..oci.reference import parse_reference
from .docker_daemon import TRANSPORT as DOCKER_DAEMON
from .oci_index import INDEX_FILE

if TYPE_CHECKING:
    from ..files.tar_reader import TarFiles
    from .docker_archive import DockerArchiveSource
    from .oci_archive import OciArchiveDestination
    from .oci_layout import OciLayoutDestination, OciLayoutSource

    FileSource = Union[OciLayoutSource, DockerArchiveSource]
    FileDestination = Union[OciLayoutDestination, OciArchiveDestination]


# Ansible sends sources in a zip archive, and Python compiles anew, in every task, what the task imports from it, there
# even twice (python/cpython#141276): so what only some images need is imported when it is asked for, here and in what
# imports this.
def _layout_source(files: Folder | TarFiles) -> FileSource:
    from .oci_layout import OciLayoutSource

    return OciLayoutSource(files)


def _docker_source(files: TarFiles) -> FileSource:
    from .docker_archive import DockerArchiveSource

    return DockerArchiveSource(files)


def _layout_destination(path: Path) -> FileDestination:
    from .oci_layout import OciLayoutDestination

    return OciLayoutDestination(path)


def _archive_destination(path: Path) -> FileDestination:
    from .oci_archive import OciArchiveDestination

    return OciArchiveDestination(path)


def _docker_destination(path: Path) -> FileDestination:
    from .docker_archive import DockerArchiveDestination

    return DockerArchiveDestination(path)


_SOURCES: dict[str, Callable[[Any], FileSource]] = {
    "oci": _layout_source,
    "oci-archive": _layout_source,
    "docker-archive": _docker_source,
}
_DESTINATIONS: dict[str, Callable[[Path], FileDestination]] = {
    "oci": _layout_destination,
    "oci-archive": _archive_destination,
    "docker-archive": _docker_destination,
}
_KNOWN = (
    "Write "
    + ", ".join(f"{transport}:PATH[:NAME]" for transport in _SOURCES)
    + ", a path that begins with / or ./, or the name of an image in the Docker daemon"
)


@dataclass(frozen=True)
class Location:
    """Where an image is or shall be.

    Attributes:
        transport: The kind of place; empty for a path whose kind is to be found out.
        path: The place; empty for the Docker daemon, which the options say.
        name: Which image there; ``None`` for all.
    """

    transport: str
    path: Path
    name: str | None = None

    def __str__(self) -> str:
        prefix = f"{self.transport}:" if self.transport else ""
        return prefix if self.transport == DOCKER_DAEMON else f"{prefix}{self.path}"


def parse_location(text: str) -> Location:
    """Return the location that ``text`` means; a bare name is that of an image in the Docker daemon.

    Raises:
        InputError: It names no kind of place that is known.
    """
    transport, colon, rest = text.partition(":")
    if text.startswith(("/", "./", "../", "~")):
        transport, rest = "", text
        if os.path.exists(os.path.expanduser(text)):
            return Location(transport, Path(os.path.expanduser(text)))
    elif colon and transport == DOCKER_DAEMON:
        return Location(DOCKER_DAEMON, Path(), rest or None)
    elif not colon or transport not in _SOURCES:
        try:
            parse_reference(text)
        except InputError as error:
            raise InputError(f"{text!r:.300} does not say where an image is", _KNOWN) from error
        return Location(DOCKER_DAEMON, Path(), text)
    path, _colon, name = rest.partition(":")
    if not path:
        raise InputError(f"{text!r:.300} has no path", _KNOWN)
    if transport == "docker-archive" and name and not name.startswith("@"):
        # There a name is a full one: what it leaves out is what Docker would add.
        name = str(parse_reference(name))
    return Location(transport, Path(os.path.expanduser(path)), name or None)


def open_source(location: Location) -> FileSource:
    """Open the place that images are read from.

    Raises:
        SourceError: It is not there, cannot be read, or is not of its kind.
    """
    path = location.path
    with reading(path):
        exists = path.exists()
    if not exists:
        raise SourceError(
            f"{path} does not exist", "Sources are read on the host that runs the task; check the path there"
        )
    if location.transport == "oci" and not path.is_dir():
        raise SourceError(
            f"{path} is not a folder", "For an archive write oci-archive: or docker-archive: before its path"
        )
    if location.transport.endswith("-archive") and path.is_dir():
        raise SourceError(f"{path} is a folder, not an archive", "For an OCI layout write oci: before its path")
    files = Folder(path) if path.is_dir() else _archive(path)
    with closed_on_failure(files):
        return _SOURCES[location.transport or _recognise(files)](files)


def open_destination(location: Location) -> FileDestination:
    """Open the place that images are written to; nothing is written yet.

    Raises:
        InputError: It does not say of which kind the place shall be.
        DestinationError: Something else is there.
    """
    if not location.transport:
        raise InputError(f"{location.path} does not say what to write there", _KNOWN)
    return _DESTINATIONS[location.transport](location.path)


def _archive(path: Path) -> TarFiles:
    from ..files.tar_reader import TarFiles

    return TarFiles(path)


def _recognise(files: Folder | TarFiles) -> str:
    if isinstance(files, Folder):
        return "oci"
    from .docker_archive import MANIFEST_FILE, DockerArchiveSource

    is_docker = files.size(MANIFEST_FILE) is not None
    if files.size(INDEX_FILE) is not None:
        # Current Docker writes both. What it has saved of layers as they are unpacked is no image of a registry.
        unpacked = is_docker and all(image.compressible for image in DockerArchiveSource(files).images())
        return "docker-archive" if unpacked else "oci-archive"
    if is_docker:
        return "docker-archive"
    raise SourceError(f"{files.path} is no image archive: it has neither {INDEX_FILE} nor {MANIFEST_FILE}")
