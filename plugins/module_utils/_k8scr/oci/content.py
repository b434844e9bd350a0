# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blob content, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

BLOCK_SIZE = 1 << 20
"""Bytes of one read or write; with smaller blocks, the calls take more time than the transfer."""

Blocks = Iterator[memoryview]
"""Content in order, in blocks of at most ``BLOCK_SIZE`` bytes; a block is valid until the next one is read."""


class BlobContent(Protocol):
    """Opens the unverified content of one blob, any number of times. In messages, ``what`` is the blob's name."""

    what: str

    def __call__(self, offset: int = 0) -> AbstractContextManager[Blocks]:
        """Open the content at ``offset`` (bytes)."""


@runtime_checkable
class PartialContent(Protocol):
    """Content of which a later part may be missing, so that a later run reads it."""

    def end(self, offset: int) -> int:
        """Return up to which byte the content can be read from ``offset``."""
