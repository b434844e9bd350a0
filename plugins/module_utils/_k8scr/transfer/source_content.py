# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of blobs at their source, during the copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DigestMismatchError, K8scrError, RegistryError, SourceError
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from .job import ImageCopy
from .listener import Listener
from .plan import ImagePlan


class SourceContent:
    """Opens a blob's content at its source; see :class:`BlobContent`."""

    def __init__(self, plan: ImagePlan, copy: ImageCopy, blob: Descriptor, listener: Listener) -> None:
        self.what = f"blob {blob.digest} from {copy.source.description}"
        self._plan = plan
        self._copy = copy
        self._blob = blob
        self._listener = listener

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        with self._copy.source.open_blob(self._blob, offset) as blocks:
            yield self._watch(blocks, offset)

    def _watch(self, blocks: Blocks, offset: int) -> Blocks:
        for block in blocks:
            self._listener.bytes_moved(self._plan, self._blob, offset, len(block))
            offset += len(block)
            yield block


def find_fault(copy: ImageCopy, blob: Descriptor, mismatch: DigestMismatchError) -> K8scrError:
    """Return the error that names the damaged side, after a destination received content with another digest."""
    what = f"blob {blob.digest} in {copy.source.description}"
    try:
        with copy.source.open_blob(blob) as blocks:
            for _block in verified(blocks, blob.digest, blob.size, what):
                pass
    except DigestMismatchError as error:
        return SourceError(error.message, "Create or copy it again")
    return RegistryError(
        f"{mismatch.message}, although {copy.source.description} has it undamaged",
        "The registry or a proxy before it changed the content: run again, and check both if the error persists",
    )
