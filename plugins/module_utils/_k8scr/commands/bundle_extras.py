# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of a bundle beside the images: collections, wheels, and files such as manifests and charts."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
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
class ExtraFile:
    """A file of a bundle beside the images.

    Attributes:
        path: Its path in the bundle.
        local: The file to copy; ``None`` if the bundle has the same file already.
    """

    path: str
    local: Path | None
    size: int
    sha256: str

    @property
    def file(self) -> BundleFile:
        """Its entry in the description of the bundle."""
        return BundleFile(self.path, self.size, self.sha256)


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

    def collect(self, folder: Path, existing: Sequence[BundleFile] = ()) -> list[ExtraFile]:
        """Return the files, sorted by their paths in the bundle.

        Wheels are downloaded only if the existing ones are for other requirements, Python versions or platforms.

        Args:
            folder: An existing, empty folder for downloads. The files in it must stay until they are copied.
            existing: The files of the existing, complete bundle.

        Raises:
            InputError: Two files have the same path in the bundle, or a path cannot be stored on all media.
            SourceError: A file cannot be read, or a wheel cannot be downloaded.
        """
        known = {each.path: each for each in existing}
        found: dict[str, ExtraFile] = {}
        for extra in (*self._wheels(folder, existing), *self._local_files(known)):
            # Some file systems do not distinguish upper and lower case.
            other = found.setdefault(extra.path.lower(), extra)
            if other != extra:
                raise InputError(f"extras has two files {extra.path}", "Rename one of them")
        return sorted(found.values(), key=lambda extra: extra.path)

    def _local_files(self, known: Mapping[str, BundleFile]) -> Iterator[ExtraFile]:
        for path in self.collections:
            yield _extra(f"{_COLLECTIONS}/{path.name}", path, known)
            _require_tarball(path)
        count = 0
        for path in self.files:
            for name, file in _files_below(Path(os.path.abspath(path))):  # noqa: PTH100 - keep the names of links
                count += 1
                if count > _MAXIMUM_FILES:
                    raise InputError(f"extras.files has more than {_MAXIMUM_FILES} files", "Pack them in an archive")
                yield _extra(f"{_FILES}/{name}", file, known)

    def _wheels(self, folder: Path, existing: Sequence[BundleFile]) -> Iterator[ExtraFile]:
        if self.wheels is None:
            return
        content = self.wheels.content
        request = BundleFile(f"{_WHEELS}/{REQUIREMENTS_FILE}", len(content), hashlib.sha256(content).hexdigest())
        if request in existing:
            for each in existing:
                if each.path.startswith(f"{_WHEELS}/"):
                    yield ExtraFile(each.path, None, each.size, each.sha256)
            return
        known = {each.path: each for each in existing}
        for path in (*self.wheels.download(folder), folder / REQUIREMENTS_FILE):
            yield _extra(f"{_WHEELS}/{path.name}", path, known)


def _extra(path: str, local: Path, known: Mapping[str, BundleFile]) -> ExtraFile:
    digest = hashlib.sha256()
    with read_errors(local):
        descriptor = open_regular(local)
    with os.fdopen(descriptor, "rb"):
        size = os.fstat(descriptor).st_size
        for block in file_blocks(descriptor, 0, size, str(local)):
            digest.update(block)
    extra = ExtraFile(extra_path(path), local, size, digest.hexdigest())
    return ExtraFile(path, None, size, extra.sha256) if known.get(path) == extra.file else extra


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
