# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify the parts of blobs that are cut, while they are read.

With one drive, a blob is uploaded over several runs, and its digest is known only after the last one. Without this
check, a damaged part would then need all volumes again, and no message would name its volume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from itertools import accumulate

from ..errors import DamagedPartError
from ..files.file_access import Files
from ..oci.content import Blocks
from ..oci.digest import is_undamaged
from .bundle_format import Part
from .volume_format import part_path


class PartCheck:
    """The verification of the parts of one bundle.

    Args:
        files: The files of the volumes at hand.
        cut: The parts of each blob that is cut, by its digest.
    """

    def __init__(self, files: Files, cut: Mapping[str, Sequence[Part]]) -> None:
        self._files = files
        self._cut = cut
        self._undamaged: set[str] = set()

    def watch(self, digest: str, blocks: Blocks, offset: int) -> Blocks:
        """Yield the content of a blob from ``offset``. The last block of a damaged part is not yielded.

        A part whose first bytes are not read is not verified; see :meth:`check_parts_before`.

        Raises:
            DamagedPartError: A part is damaged.
        """
        ends = dict(zip(accumulate(part.size for part in self._cut[digest]), enumerate(self._cut[digest], 1)))
        starts = {0, *ends}
        hasher = None
        for block in blocks:
            # No block has bytes of two parts.
            hasher = hashlib.sha256() if offset in starts else hasher
            offset += len(block)
            if hasher:
                hasher.update(block)
                if offset in ends:
                    number, part = ends[offset]
                    self._note(digest, number, part, hasher.hexdigest() == part.sha256)
            yield block

    def check_parts_before(self, digest: str, offset: int, missing: Container[int]) -> None:
        """Verify the parts of a blob that end at ``offset`` or before, and that were not verified yet.

        Args:
            missing: The numbers of the volumes that are not at hand; their parts are not verified.

        Raises:
            DamagedPartError: A part is damaged.
        """
        end = 0
        for number, part in enumerate(self._cut.get(digest, ()), 1):
            end += part.size
            path = part_path(digest, number)
            if end <= offset and part.volume not in missing and path not in self._undamaged:
                with self._files.open(path) as blocks:
                    self._note(digest, number, part, is_undamaged(blocks, f"sha256:{part.sha256}", part.size))

    def _note(self, digest: str, number: int, part: Part, undamaged: bool) -> None:
        path = part_path(digest, number)
        if not undamaged:
            what = f"{path} on volume {part.volume} of {self._files.description}"
            raise DamagedPartError(
                f"{what} is damaged: its content has another digest",
                f"Copy volume {part.volume} again",
            )
        self._undamaged.add(path)
