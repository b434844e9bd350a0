# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy one blob."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

from ..errors import DigestMismatchError, K8scrError, RegistryError, SourceError
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from ..oci.interfaces import SparseContent
from .job import ImageCopy
from .listener import Listener
from .plan import Action, BlobResult, BlobStep, ImagePlan
from .slots import Slots

_REPORT_INTERVAL = 0.1
"""Seconds between two events about a blob's bytes. Events for all blocks take 1.5 % of a push's CPU time (measured)."""


def copy_blob(
    plan: ImagePlan,
    copy: ImageCopy,
    step: BlobStep,
    origin: tuple[Descriptor, str] | None,
    slots: Slots,
    listener: Listener,
) -> BlobResult:
    """Copy the blob of a step of a plan, and return the result.

    Args:
        copy: The copy of the plan's job.
        origin: The blob that an earlier step copied, and its repository, to mount it from.
        slots: Limits the copies at once.

    Raises:
        K8scrError: The source cannot be read, or the destination cannot store the blob.
    """
    descriptor, mount_from = origin or (step.descriptor, step.mount_from)
    content = _SourceContent(plan, copy, step.at_source, listener)
    sparse = plan.image.sparse if plan.image else None
    if sparse and not mount_from and not sparse.has_part(step.at_source):
        # The other blobs are copied, so that a later run needs only the missing medium.
        raise sparse.absence(step.at_source) or SourceError(f"{content.what} is missing")
    listener.blob_started(plan, step.at_source)
    try:
        with slots:
            if step.layer is None or copy.compressor is None:
                mounted = copy.destination.put_blob(descriptor, content, mount_from)
            else:
                descriptor, mounted = copy.compressor.put(step.layer, descriptor, content, mount_from)
    except DigestMismatchError as error:
        if copy.destination.capabilities.verifies_digests:
            raise _find_fault(copy, step.at_source, sparse, error) from error
        raise
    return BlobResult(descriptor, descriptor.size, Action.MOUNTED if mounted else Action.SENT, step.layer)


class _SourceContent:
    """Opens a blob's content at its source; see :class:`BlobContent`."""

    def __init__(self, plan: ImagePlan, copy: ImageCopy, blob: Descriptor, listener: Listener) -> None:
        self.what = f"blob {blob.digest} from {copy.source.description}"
        self._plan = plan
        self._copy = copy
        self._blob = blob
        self._listener = listener

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        with (
            self._copy.source.open_blob(self._blob, offset) as blocks,
            closing(self._watch(blocks, offset)) as watched,
        ):
            yield watched

    def end(self, offset: int) -> int:
        """See :class:`PartialContent`."""
        sparse = self._plan.image.sparse if self._plan.image else None
        return sparse.end(self._blob, offset) if sparse else self._blob.size

    def _watch(self, blocks: Blocks, offset: int) -> Generator[memoryview, None, None]:
        moved, next_report = 0, 0.0
        try:
            for block in blocks:
                moved += len(block)
                now = time.monotonic()
                if now >= next_report:
                    self._listener.bytes_moved(self._plan, self._blob, offset, moved)
                    offset, moved, next_report = offset + moved, 0, now + _REPORT_INTERVAL
                yield block
        finally:
            if moved:
                self._listener.bytes_moved(self._plan, self._blob, offset, moved)


def _find_fault(
    copy: ImageCopy, blob: Descriptor, sparse: SparseContent | None, mismatch: DigestMismatchError
) -> K8scrError:
    """Return the error that names the damaged side, after a destination received content with another digest."""
    where = sparse.location(blob) if sparse else f"in {copy.source.description}"
    what = f"blob {blob.digest} {where}"
    try:
        with copy.source.open_blob(blob) as blocks:
            for _block in verified(blocks, blob.digest, blob.size, what):
                pass
    except DigestMismatchError as error:
        return SourceError(error.message, error.advice or "Create or copy it again")
    return RegistryError(
        f"{mismatch.message}, although {copy.source.description} has it undamaged",
        "The registry or a proxy before it changed the content: run again, and check both if the error persists",
    )
