# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the images that a task or a lock file names are missing in a registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..oci.reference import Reference
from ..registry.inventory import Inventory, StoredImage


@dataclass(frozen=True)
class WantedImage:
    """An image that the registry should have.

    Attributes:
        name: Its full name.
        repository: Its repository in the registry.
        digest: The digest that it should have, of its root or its config; ``None`` if any image is accepted.
    """

    name: Reference
    repository: str
    digest: str | None = None

    @property
    def reference(self) -> str:
        """The tag or digest by which the registry returns it."""
        return self.name.digest or self.name.tag or "latest"


@dataclass(frozen=True)
class MissingImage:
    """An image that the registry does not have.

    Attributes:
        stored: The digest of the other image with its tag; ``None`` if there is none.
    """

    wanted: WantedImage
    stored: str | None


def missing_images(wanted: Iterable[WantedImage], inventory: Inventory) -> Iterator[MissingImage]:
    """Yield the missing images, each once. Those that cannot be read are not missing.

    Args:
        inventory: An inventory with the references of all wanted images.
    """
    found: dict[tuple[str, str], StoredImage] = {}
    for image in inventory.images:
        for reference in (*image.tags, image.root.digest):
            found[image.repository, reference] = image
    unreadable = {(each.repository, each.tag) for each in inventory.unreadable}
    unique = dict.fromkeys(wanted)
    compared = {(each.repository, each.reference) for each in unique if each.digest}
    for each in unique:
        if not each.digest and (each.repository, each.reference) in compared:
            continue
        image_found = found.get((each.repository, each.reference))
        if image_found is None:
            if (each.repository, each.reference) not in unreadable:
                yield MissingImage(each, None)
        elif each.digest and each.digest not in _identities(image_found):
            yield MissingImage(each, image_found.root.digest)


def _identities(image: StoredImage) -> tuple[str, ...]:
    """Return the digests that identify an image: of its root and, for a single manifest, of its config."""
    root = image.manifests[0] if image.manifests else None
    return (image.root.digest, root.blobs[0].digest) if root and root.blobs else (image.root.digest,)
