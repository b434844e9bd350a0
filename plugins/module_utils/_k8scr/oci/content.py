# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blob content, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

BLOCK_SIZE = 1 << 20
"""Bytes that are read and written at once: with less, the calls cost more than the bytes."""

Blocks = Iterator[memoryview]
"""Content in order, in blocks of at most ``BLOCK_SIZE`` bytes; a block is valid until the next one is asked for."""


class BlobContent(Protocol):
    """Opens one blob's content, as often as it is needed; who does not check digests otherwise verifies it.

    Attributes:
        what: What is read from where, for people.
    """

    what: str

    def __call__(self, offset: int = 0) -> AbstractContextManager[Blocks]:
        """Open it from ``offset`` (bytes) on."""
