# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpack compressed files into unnamed temporary files, for formats without checkpoints: zstd, xz and bzip2."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import SourceError
from ..oci.content import BLOCK_SIZE, Blocks
from .decompression import ZSTD, DecompressionError, Format, decompressed
from .file_access import file_blocks, write_all

_MAXIMUM_RATIO = 200
"""The largest ratio of content to file. Images compress by 2 to 5, decompression bombs by 1000."""
_ALWAYS_ALLOWED = 1 << 30
"""Bytes of content that even the smallest file may have."""
_LARGE_FILES = "/var/tmp"  # noqa: S108 - the files have no names there


def temporary_folder(chosen: str | None = None) -> Path:
    """Return the folder for large temporary files: by default TMPDIR or ``/var/tmp``, as in Docker and Podman."""
    return Path(chosen or os.environ.get("TMPDIR") or _LARGE_FILES)


def content_limit(size: int) -> int:
    """Return the maximum bytes of the content of a compressed file or layer of ``size`` bytes."""
    return _ALWAYS_ALLOWED + _MAXIMUM_RATIO * size


def too_large(description: str, limit: int) -> SourceError:
    """Return the error for content above its limit."""
    return SourceError(f"{description} decompresses to more than {limit} bytes, the limit for its size")


def unpack(descriptor: int, compression: Format, folder: Path, description: str) -> int:
    """Decompress an open file into a temporary file in ``folder``, and return the descriptor of that file.

    The temporary file has no name: closing it frees its space, also after a crash.

    Raises:
        SourceError: The file is damaged or too large, a library is missing, or the folder is full.
    """
    size = os.fstat(descriptor).st_size
    limit = content_limit(size)
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for output in _decompressed(descriptor, size, compression, description):
                if file.tell() + len(output) > limit:
                    raise too_large(description, limit)
                write_all(file.fileno(), output)
            return os.dup(file.fileno())
    except DecompressionError as error:
        raise SourceError(f"{description} is damaged: {error}", "Create or copy it again") from error
    except OSError as error:
        raise SourceError(
            f"{description} cannot be decompressed in the folder {folder}: {error.strerror}",
            "It needs the decompressed size of the archive: set tmp_dest or TMPDIR to a folder with enough space, or"
            f" decompress the archive with {compression.command}",
        ) from error


def _decompressed(descriptor: int, size: int, compression: Format, description: str) -> Blocks:
    library = compression.find_library()
    if library:
        return decompressed(file_blocks(descriptor, 0, size, description), compression, library)
    program = shutil.which("zstd") if compression is ZSTD else None
    if program:
        return _output_of(program, descriptor)
    raise SourceError(
        f"{description} is compressed with {compression.name}, which needs {compression.needs}"
        " on the host that runs the module",
        f"Install it there, or decompress the archive with {compression.command}",
    )


def _output_of(program: str, descriptor: int) -> Blocks:
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = [program, "-d", "-c", "-q"]
    with subprocess.Popen(  # pylint: disable=ansible-bad-function
        command, stdin=descriptor, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        if process.stdout is None or process.stderr is None:
            return
        try:
            while output := process.stdout.read(BLOCK_SIZE):
                yield memoryview(output)
            reason = process.stderr.read()
            process.wait()
        finally:
            process.kill()
    if process.returncode:
        raise DecompressionError(f"{reason.decode(errors='replace').strip():.1000}")
