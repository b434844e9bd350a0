# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image that an entry of the option ``images`` selects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..oci.interfaces import ImageSource, SourceImage
from ..oci.reference import Reference
from ..transfer.job import PinnedDigest, WantedReferrers
from .image_entries import SourceEntry

if TYPE_CHECKING:
    from ..signatures.checks import Verified


@dataclass(frozen=True)
class SourcedImage:
    """An image that an entry selects.

    Attributes:
        source: Its source, limited to the selected platforms.
        complete_source: Its source with all platforms, for artifacts that refer to the image.
        image: The image with the selected platforms.
        name: Its name at the destination.
        locked_as: Its name and its digest in the lock file, before platforms are selected.
        complete_image: The image with all platforms.
        verified: The verified signature of ``complete_image``, if the option ``verify`` requires one.
    """

    entry: SourceEntry
    source: ImageSource
    complete_source: ImageSource
    image: SourceImage
    name: Reference
    locked_as: tuple[Reference, str]
    complete_image: SourceImage
    verified: Verified | None = None

    @property
    def pinned(self) -> PinnedDigest | None:
        """The digest in the image's name, if any."""
        return PinnedDigest(self.name, self.entry.source) if self.name.digest else None

    def referrers(self, target_of: Callable[[str], str]) -> WantedReferrers:
        """Return the referrers to copy with the image.

        Args:
            target_of: Returns the target, for results and messages, of a tag or digest at the destination.
        """
        complete = self.complete_image.root
        replaced = complete if complete != self.image.root else None
        return WantedReferrers(self.entry.referrers, self.complete_source, target_of, replaced)
