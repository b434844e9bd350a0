# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write and read bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import (
    BundleFile,
    BundleImage,
    BundleManifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_store import BundleStore

from .images import Image
from .stores import blob, content_of, put

NAME = "example.com/team/app:1"
OTHER = "example.com/team/other:1"


def description(*images: tuple[str, Image], extras: Mapping[str, bytes] | None = None) -> BundleManifest:
    """Return the description of a bundle with these images and files."""
    files = [BundleFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in (extras or {}).items()]
    listed = [BundleImage(name, image.root.digest, image.root.size) for name, image in images]
    return BundleManifest(tuple(listed), extras=tuple(files))


def write_images(store: BundleStore, *images: tuple[str, Image], extras: Mapping[str, bytes] | None = None) -> None:
    """Begin the changes of a bundle, and write images and files without finishing it."""
    store.begin()
    for name, image in images:
        put_missing(store, image, name)
    store.commit()
    for path, data in (extras or {}).items():
        store.add_file(path, content_of(data), len(data))


def write_bundle(store: BundleStore, *images: tuple[str, Image], extras: Mapping[str, bytes] | None = None) -> None:
    """Write a complete bundle."""
    write_images(store, *images, extras=extras)
    store.finish(description(*images, extras=extras))
    store.close()


def put_missing(store: BundleStore, image: Image, name: str) -> None:
    """Store the missing blobs of an image, then its manifests, like a task."""
    missing = {
        digest: data
        for digest, data in image.contents.items()
        if data.startswith(b"{") or not store.has_blob(blob(digest, data))
    }
    put(store, Image(image.root, missing), name)


def volume_files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, also hidden ones."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def contents_of(*images: Image) -> dict[str, bytes]:
    """Return the manifests and blobs of images, by digest."""
    found = {digest: data for image in images for digest, data in image.contents.items()}
    assert all(digest_of(data, digest.partition(":")[0]) == digest for digest, data in found.items())
    return found
