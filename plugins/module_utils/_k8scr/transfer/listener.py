# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of a transfer, for progress, counters and records."""

from __future__ import annotations

from ..oci.descriptor import Descriptor
from .plan import BlobResult, ImagePlan
from .report import ImageResult


class Listener:
    """Receives the events of a transfer and ignores them; subclasses override what they need.

    Several threads may call a method at once. A method must return quickly and must not raise.
    """

    def image_planned(self, plan: ImagePlan) -> None:
        """Receive the plan for an image; it may hold an error."""

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        """Receive the blob, as it is at the source, of which the copy begins."""

    def bytes_moved(self, plan: ImagePlan, blob: Descriptor, offset: int, count: int) -> None:
        """Receive that the source returned ``count`` bytes at ``offset``; a resumed copy may read bytes again."""

    def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
        """Receive the result for a blob that was copied or mounted."""

    def image_done(self, result: ImageResult) -> None:
        """Receive the final result for an image: copied, unchanged or failed."""

    def retried(self, what: str, why: str) -> None:
        """Receive that a failed request is sent again."""
