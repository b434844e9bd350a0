# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layers and bytes of an image that a copy sends or mounts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .plan import Action, BlobResult, ImagePlan
from .texts import counted


@dataclass(frozen=True)
class BlobCounts:
    """The layers of an image, and what a copy does with them. The layers of all its platforms count.

    Attributes:
        layers: The number of layers, without configs.
        sent: The number of layers to send.
        mounted: The number of layers to mount.
        size: The bytes of layers and configs to send. A layer without known compressed size counts uncompressed.
        is_uncompressed: Whether the compressed size of a layer is unknown.
    """

    layers: int
    sent: int
    mounted: int
    size: int
    is_uncompressed: bool

    @property
    def sent_layers(self) -> str:
        """The number of layers to send of all, such as ``3 of 12 layers``."""
        return f"{self.sent} of {counted(self.layers, 'layer')}"

    @property
    def mounted_layers(self) -> str:
        """The number of layers to mount of all."""
        return f"{self.mounted} of {counted(self.layers, 'layer')}"

    @property
    def described(self) -> str:
        """What a copy sends besides layers: ``the manifest``, with the config if that is sent."""
        return "the manifest and the config" if self.size else "the manifest"


def count_blobs(plan: ImagePlan, blobs: Iterable[BlobResult]) -> BlobCounts:
    """Count blobs of an image, those of the plan or of the result."""
    configs = {manifest.config.digest for manifest in plan.manifests if manifest.config}
    layers = sent = mounted = size = 0
    is_uncompressed = False
    for blob in blobs:
        is_layer = not blob.at_source or blob.at_source.digest not in configs
        layers += is_layer
        sent += is_layer and blob.action is Action.SENT
        mounted += is_layer and blob.action is Action.MOUNTED
        size += blob.size if blob.action is Action.SENT else 0
        is_uncompressed = is_uncompressed or blob.descriptor is None
    return BlobCounts(layers, sent, mounted, size, is_uncompressed)
