# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of an inventory, without a registry."""

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import ImageUse
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import (
    Inventory,
    StoredImage,
    StoredManifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import Usage

HOSTS = (
    "",
    "docker.io/",
    "registry.example.com/",
    "registry.example.com:5000/",
    "[fd00::1]:5000/",
    "my_registry.example.com/",
    "my_registry:5000/",
    "My_Registry/",
)
"""The beginnings of image names in workloads: no host, or a host and a slash."""


def digest(content: str) -> str:
    """Return the digest of a content, which stands for a manifest or a blob."""
    return digest_of(content.encode())


def stored(
    repository: str, content: str, *tags: str, layers: tuple[str, ...] = (), created: str | None = None
) -> StoredImage:
    """Return an image of a repository. Each layer has 100 bytes, the config 10 and the manifest 1."""
    root = Descriptor(OCI_MANIFEST, digest(content), 1)
    config = Descriptor(OCI_CONFIG, digest(f"config of {content}"), 10)
    blobs = (config, *(Descriptor(OCI_LAYER, digest(layer), 100) for layer in layers))
    return StoredImage(repository, root, tuple(sorted(tags)), (StoredManifest(root, None, blobs),), created=created)


def stored_index(repository: str, content: str, children: tuple[StoredImage, ...], *tags: str) -> StoredImage:
    """Return an index of these images, with 1 byte."""
    root = Descriptor(OCI_INDEX, digest(content), 1)
    manifests = tuple(manifest for child in children for manifest in child.manifests)
    return StoredImage(repository, root, tuple(sorted(tags)), (StoredManifest(root), *manifests))


def use(
    image: str, running: str | None = None, kind: str = "Deployment", name: str = "app", rollback: bool = False
) -> ImageUse:
    """Return the use of an image by a workload in the namespace ``team``; ``running`` is the digest in its status."""
    return ImageUse(image, running, kind, "team", name, rollback)


def used_tags(usage: Usage, inventory: Inventory) -> set[str]:
    """Return the names of the used images, with their first tags or roots."""
    images = [image for image in inventory.images if usage.users_of(image)]
    return {f"{image.repository}:{(image.tags or (image.root.digest,))[0]}" for image in images}
