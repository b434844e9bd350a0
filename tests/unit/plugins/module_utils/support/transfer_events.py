# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of a transfer for its progress."""

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import Message
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import Manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import (
    Action,
    BlobStep,
    ImagePlan,
    StepId,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import Progress
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress_listener import (
    TransferProgress,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from unit.plugins.module_utils.support.moved_clock import MovedClock

MIB = 1 << 20
MANIFEST = Manifest(Descriptor("application/vnd.oci.image.manifest.v1+json", f"sha256:{'0' * 64}", 2), b"{}")


class Run:
    """A transfer whose events the test sends.

    Attributes:
        messages: The messages to the user.
    """

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.messages: list[Message] = []
        self.listener = TransferProgress(Progress(self.messages.append), clock=self.clock)

    def plan(self, name: str, *steps: BlobStep, subject: str | None = None) -> ImagePlan:
        """Plan an image that changes."""
        plan = ImagePlan(ImageJob(name, subject=subject), manifests=(MANIFEST,), steps=steps)
        self.listener.image_planned(plan)
        return plan

    def copy(self, plan: ImagePlan, step: BlobStep, count: int, offset: int = 0) -> None:
        """Start a blob and copy bytes of it."""
        self.listener.blob_started(plan, step.at_source)
        self.listener.bytes_moved(plan, step.at_source, offset, count)

    def end(self, plan: ImagePlan, error: RegistryError | None = None) -> None:
        """End an image."""
        self.listener.image_done(ImageResult(plan, MANIFEST.descriptor.digest, plan.blobs, error))

    def status(self, after: float = 0) -> str | None:
        """Return the status after some seconds."""
        self.clock.seconds += after
        return self.listener.status()


def blob(number: int, size: int = 10 * MIB, action: Action = Action.SENT, waits_for: StepId | None = None) -> BlobStep:
    """Return the step for a layer."""
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar", f"sha256:{number:064x}", size)
    return BlobStep(layer, action, waits_for=waits_for)
