# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layers of Docker archives without manifests: uncompressed, or compressed by other tools than Docker.

Layers that are compressed with gzip or zstd are copied as stored. Registries and runtimes have no media types for xz
and bzip2 (OCI image specification, "Layer Media Types"), so these layers are decompressed during reading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from ..errors import SourceError
from ..files.decompression import (
    BZIP2,
    MAGIC_SIZE,
    XZ,
    DecompressionError,
    Decompressor,
    Format,
    decompressed,
    find_format,
)
from ..files.diff_id_check import DiffIdCheck
from ..files.file_access import Files
from ..files.unpacking import content_limit, too_large
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of_blocks, split_digest
from ..oci.manifest import OCI_LAYER
from .docker_manifest import unreadable, verify_path

_NAMED_BY_DIGEST = re.compile(r"([0-9a-f]{64})\.tar")


@dataclass(frozen=True)
class _LayerFile:
    """A file with a layer.

    Attributes:
        stored: The digest of the file; empty for an uncompressed layer, whose diff ID is verified during the copy.
        compression: Its compression, if any.
        diff_id: The digest of the decompressed content, if it was read.
        size: The size of the layer as it is copied, in bytes.
    """

    stored: str
    size: int
    compression: Format | None = None
    diff_id: str = ""


class DockerLayers:
    """The layers of one Docker archive."""

    def __init__(self, files: Files) -> None:
        self._files = files
        # By path without links: each file is read once.
        self._known: dict[str, _LayerFile] = {}
        self._contents: dict[str, str] = {}
        """The digests of uncompressed layers, if they were read."""
        self._paths: dict[str, str] = {}
        self._diff_ids: dict[str, str] = {}
        self._checks: dict[str, DiffIdCheck] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._paths

    def add(self, path: str, file: str, diff_id: str) -> Descriptor:
        """Return the descriptor of a layer.

        Args:
            path: The path in ``manifest.json``.
            file: The same path without links.
            diff_id: The digest of the uncompressed layer in the image's config.

        Raises:
            SourceError: The layer is damaged or does not match its diff ID.
        """
        if file not in self._known:
            self._known[file] = self._read(file)
        known = self._known[file]
        if known.stored:
            verify_path(self._files, path, known.stored)
        if known.diff_id or not known.stored:
            self._require(known, path, file, diff_id)
        elif self._diff_ids.setdefault(known.stored, diff_id) != diff_id:
            raise unreadable(self._files, f"the configs have different diff IDs for the layer {path}")
        digest = diff_id if known.diff_id else known.stored or diff_id
        self._paths[digest] = file
        suffix = f"+{known.compression.name}" if known.compression and not known.diff_id else ""
        return Descriptor(OCI_LAYER + suffix, digest, known.size)

    @contextmanager
    def open(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        """Open the content of a layer at ``offset`` (bytes).

        Raises:
            SourceError: The layer cannot be read or is damaged.
        """
        digest = descriptor.digest
        file = self._paths[digest]
        known = self._known[file]
        if known.diff_id and known.compression:
            # A reader that stops early releases the archive at once.
            with closing(self._decompressed(file, known.compression)) as blocks:
                yield _skip(blocks, offset)
        elif digest in self._diff_ids and known.compression:
            with self._checked(descriptor, file, known.compression, offset) as blocks:
                yield blocks
        else:
            with self._files.open(file, offset) as blocks:
                yield blocks

    @contextmanager
    def _checked(self, layer: Descriptor, file: str, compression: Format, offset: int) -> Iterator[Blocks]:
        library = compression.find_library()
        read = partial(self._files.open, file)
        if library is None:
            with read(offset) as blocks:
                yield blocks
            return
        # A parallel reader of the same layer uses a check of its own.
        check = self._checks.pop(layer.digest, None) or DiffIdCheck(
            read, layer.size, self._diff_ids[layer.digest], self._name(file), Decompressor(compression, library)
        )
        try:
            with check.open(offset) as blocks:
                yield blocks
        finally:
            self._checks[layer.digest] = check

    def _read(self, file: str) -> _LayerFile:
        size = self._files.size(file) or 0
        with self._files.open(file) as blocks:
            compression = find_format(bytes(next(blocks, memoryview(b""))[:MAGIC_SIZE]))
        if compression is None:
            return _LayerFile("", size)
        with self._files.open(file) as blocks:
            stored = digest_of_blocks(blocks)
        if compression not in (XZ, BZIP2):
            return _LayerFile(stored, size, compression)
        hasher, length, limit = hashlib.sha256(), 0, content_limit(size)
        for block in self._decompressed(file, compression):
            hasher.update(block)
            length += len(block)
            if length > limit:
                raise too_large(self._name(file), limit)
        return _LayerFile(stored, length, compression, f"sha256:{hasher.hexdigest()}")

    def _decompressed(self, file: str, compression: Format) -> Generator[memoryview, None, None]:
        library = compression.find_library()
        if library is None:
            raise SourceError(
                f"{self._name(file)} is compressed with {compression.name}, which needs {compression.needs}",
                "Install it, or save the image with uncompressed layers",
            )
        try:
            with self._files.open(file) as blocks:
                yield from decompressed(blocks, compression, library)
        except DecompressionError as error:
            raise SourceError(f"{self._name(file)} is damaged: {error}", "Save the image again") from error

    def _require(self, known: _LayerFile, path: str, file: str, diff_id: str) -> None:
        """Check the diff ID of a layer that is copied uncompressed, as far as that is possible without reading it."""
        actual = known.diff_id or self._diff_id_in_name(file, diff_id)
        if actual in ("", diff_id) or split_digest(diff_id)[0] != "sha256":
            return
        if diff_id == known.stored or not known.stored:
            raise SourceError(
                f"{self._name(path)} is the layer {actual}, but the image's config has {diff_id},"
                " as after podman import of a compressed file. No runtime can unpack the image",
                "Decompress the file before podman import, and save the image again",
            )
        raise SourceError(
            f"{self._name(path)} does not match its diff ID in the image's config: its content has the digest {actual}",
            "Save it again",
        )

    def _diff_id_in_name(self, file: str, diff_id: str) -> str:
        """Return the digest of an uncompressed layer that is in its name but not in the config; else, ``""``.

        Podman imports a file that is compressed with xz or bzip2 with the digest of that file as the diff ID. Later it
        saves the uncompressed layer, which it names by its digest.
        """
        name = _NAMED_BY_DIGEST.fullmatch(file)
        if name is None or diff_id == f"sha256:{name[1]}":
            return ""
        if file not in self._contents:
            with self._files.open(file) as blocks:
                self._contents[file] = digest_of_blocks(blocks)
        return self._contents[file] if self._contents[file] == f"sha256:{name[1]}" else ""

    def _name(self, file: str) -> str:
        return f"{file} in {self._files.description}"


def _skip(blocks: Blocks, offset: int) -> Blocks:
    """Yield the blocks from ``offset`` (bytes)."""
    for block in blocks:
        if offset < len(block):
            yield block[offset:]
        offset = max(offset - len(block), 0)
