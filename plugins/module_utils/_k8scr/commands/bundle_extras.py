# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of a bundle beside the images: collections, wheels, and files such as manifests and charts."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.decompression import GZIP_MAGIC
from ..files.file_access import file_blocks, open_regular, read_errors
from ..stores.bundle_format import BundleFile, extra_path
from .wheels import REQUIREMENTS_FILE, WheelRequest

_FOLDER = "extras"
_COLLECTIONS = f"{_FOLDER}/collections"
_FILES = f"{_FOLDER}/files"
_WHEELS = f"{_FOLDER}/wheels"
_MAXIMUM_FILES = 100_000
_WHEELS_SPEC: dict[str, Any] = {
    "requirements": {"type": "list", "elements": "str"},
    "python": {"type": "list", "elements": "str", "required": True},
    "platforms": {"type": "list", "elements": "str"},
}
EXTRAS_ARGUMENT_SPEC: dict[str, Any] = {
    "extras": {
        "type": "dict",
        "options": {
            "collections": {"type": "list", "elements": "path"},
            "wheels": {"type": "dict", "options": _WHEELS_SPEC},
            "files": {"type": "list", "elements": "path"},
        },
    },
}


@dataclass(frozen=True)
class BundleExtras:
    """The option ``extras``.

    Attributes:
        collections: The tarballs of collections.
        wheels: The wheels to download; ``None`` for none.
        files: Other files and folders.
    """

    collections: tuple[Path, ...] = ()
    wheels: WheelRequest | None = None
    files: tuple[Path, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BundleExtras:
        """Read the module's parameters.

        Raises:
            InputError: The option is invalid.
        """
        extras = options.get("extras") or {}
        wheels = extras.get("wheels")
        if wheels is not None and not wheels["python"]:
            raise InputError("extras.wheels.python is empty", "List the Python versions of the other side")
        return cls(
            tuple(map(Path, extras.get("collections") or ())),
            WheelRequest.from_options(wheels) if wheels is not None else None,
            tuple(map(Path, extras.get("files") or ())),
        )

    def collect(
        self,
        folder: Path,
        existing: Sequence[BundleFile] = (),
        phase_started: Callable[[str], None] = lambda description: None,
    ) -> dict[BundleFile, Path | None]:
        """Return the files, sorted by their paths in the bundle, each with the local file to copy.

        Wheels are downloaded only if the existing ones are for other requirements, Python versions or platforms.

        Args:
            folder: An existing, empty folder for downloads. The files in it must stay until they are copied.
            existing: The files of the existing, complete bundle. They have no local file.
            phase_started: Receives the description of what takes time.

        Raises:
            InputError: Two files have the same path in the bundle, or a path cannot be stored on all media.
            SourceError: A file cannot be read, or a wheel cannot be downloaded.
        """
        known, wheels = set(existing), self._existing_wheels(existing)
        # Some file systems do not distinguish upper and lower case.
        found: dict[str, tuple[BundleFile, Path | None]] = {file.path.lower(): (file, None) for file in wheels}
        downloads = [] if wheels else [*self._download_wheels(folder, phase_started)]
        phase_started("reading the files of extras")
        for path, local in (*downloads, *self._local_files()):
            file = _described(path, local)
            other, _local = found.setdefault(path.lower(), (file, None if file in known else local))
            if other != file:
                raise InputError(f"extras has two files {path}", "Rename one of them")
        return dict(sorted(found.values(), key=lambda each: each[0].path))

    def _local_files(self) -> Iterator[tuple[str, Path]]:
        """Yield the path in the bundle and the local path of collections and other files."""
        for path in self.collections:
            yield f"{_COLLECTIONS}/{path.name}", path
            _require_tarball(path)
        count = 0
        for path in self.files:
            for name, file in _files_below(Path(os.path.abspath(path))):  # noqa: PTH100 - keep the names of links
                count += 1
                if count > _MAXIMUM_FILES:
                    raise InputError(f"extras.files has more than {_MAXIMUM_FILES} files", "Pack them in an archive")
                yield f"{_FILES}/{name}", file

    def _existing_wheels(self, existing: Sequence[BundleFile]) -> list[BundleFile]:
        """Return the wheels of the existing bundle; none if they are for another request."""
        if self.wheels is None:
            return []
        content = self.wheels.content
        request = BundleFile(f"{_WHEELS}/{REQUIREMENTS_FILE}", len(content), hashlib.sha256(content).hexdigest())
        return [each for each in existing if each.path.startswith(f"{_WHEELS}/")] if request in existing else []

    def _download_wheels(self, folder: Path, phase_started: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
        if self.wheels is not None:
            for path in (*self.wheels.download(folder, phase_started), folder / REQUIREMENTS_FILE):
                yield f"{_WHEELS}/{path.name}", path


def _described(path: str, local: Path) -> BundleFile:
    """Return the entry of a local file in the description of the bundle."""
    digest = hashlib.sha256()
    with read_errors(local):
        descriptor = open_regular(local)
    with os.fdopen(descriptor, "rb"):
        size = os.fstat(descriptor).st_size
        for block in file_blocks(descriptor, 0, size, str(local)):
            digest.update(block)
    return BundleFile(extra_path(path), size, digest.hexdigest())


def _require_tarball(path: Path) -> None:
    with read_errors(path), path.open("rb") as file:
        magic = file.read(len(GZIP_MAGIC))
    if magic != GZIP_MAGIC or not path.name.endswith(".tar.gz"):
        raise InputError(
            f"{path} is not the tarball of a collection",
            "Create it with ansible-galaxy collection download or ansible-galaxy collection build",
        )


def _files_below(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield a file, or all files below a folder, with their names relative to its parent."""
    with read_errors(path):
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    if not is_folder:
        yield path.name, path
        return

    def fail(error: OSError) -> None:
        raise error

    with read_errors(path):
        for folder, folders, files in os.walk(path, onerror=fail):
            folders.sort()
            for name in folders:
                # os.walk does not follow links, which may lead to a loop.
                if (Path(folder) / name).is_symlink():
                    raise InputError(f"{Path(folder) / name} is a link to a folder", "Copy the folder with cp -rL")
            for name in sorted(files):
                file = Path(folder) / name
                yield file.relative_to(path.parent).as_posix(), file
