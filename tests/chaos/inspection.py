# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads images and blobs back and verifies every digest, without code of the collection."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

_TYPES = [f"application/vnd.{kind}+json" for kind in ("oci.image.index.v1", "oci.image.manifest.v1")]
_DOCKER_TYPES = [f"application/vnd.docker.distribution.manifest{kind}v2+json" for kind in (".", ".list.")]
_ACCEPT = {"Accept": ", ".join([*_TYPES, *_DOCKER_TYPES])}
Read = Callable[[str, bool], bytes | None]
"""Reads the content of a digest. The second argument tells manifests from blobs. Returns None if it is missing."""


@dataclass
class StoredImage:
    """An image in a registry, a layout or an archive.

    Attributes:
        digest: Digest of the root manifest; None if the image is missing.
        configs: Digests of the configs.
        blobs: Sizes of the blobs by digest.
        manifests: Sizes of the manifests by digest.
        problems: Missing or damaged content, one line each.
    """

    digest: str | None = None
    configs: set[str] = field(default_factory=set)
    blobs: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def matches(self, identity: str) -> bool:
        """Return whether the image has this digest or image ID."""
        return identity == self.digest or identity in self.configs


def in_registry(address: str, repository: str, tag: str) -> StoredImage:
    """Read an image from a registry, with a direct connection."""
    url = f"http://{address}/v2/{repository}"
    with requests.Session() as session:
        session.trust_env = False

        def read(reference: str, is_manifest: bool) -> bytes | None:
            path = f"manifests/{reference}" if is_manifest else f"blobs/{reference}"
            response = session.get(f"{url}/{path}", headers=_ACCEPT, timeout=30)
            return response.content if response.status_code == 200 else None

        content = read(tag, True)
        return _walk(_digest(content), read) if content is not None else StoredImage()


def in_layout(path: Path, name: str) -> StoredImage:
    """Read an image from an OCI layout or an OCI archive."""
    if path.is_dir():

        def file(member: str) -> bytes | None:
            existing = path / member
            return existing.read_bytes() if existing.exists() else None

        return _in_layout_files(file, name)
    if not path.exists():
        return StoredImage()
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar}

        def entry(member: str) -> bytes | None:
            stream = tar.extractfile(members[member]) if member in members else None
            return stream.read() if stream else None

        return _in_layout_files(entry, name)


def in_storage(storage: Path, digest: str) -> StoredImage:
    """Read an image from a registry's storage."""

    def read(blob: str, _is_manifest: bool) -> bytes | None:
        algorithm, _colon, name = blob.partition(":")
        path = storage / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"
        return path.read_bytes() if path.exists() else None

    return _walk(digest, read)


def damaged_blobs(storage: Path) -> list[str]:
    """Return a line for each blob in a registry's storage whose content does not match its digest."""
    blobs = storage.glob("docker/registry/v2/blobs/sha256/*/*/data")
    return [
        f"stored blob {path.parent.name} is damaged" for path in blobs if _hex(path.read_bytes()) != path.parent.name
    ]


def stored_blobs(storage: Path) -> dict[str, int]:
    """Return the sizes of all blobs in a registry's storage by digest."""
    files = storage.glob("docker/registry/v2/blobs/sha256/*/*/data")
    return {f"sha256:{path.parent.name}": path.stat().st_size for path in files}


def open_uploads(storage: Path) -> int:
    """Return the number of open upload sessions in a registry's storage."""
    return len(list(storage.glob("docker/registry/v2/repositories/**/_uploads/*/startedat")))


def _in_layout_files(read_file: Callable[[str], bytes | None], name: str) -> StoredImage:
    def read(digest: str, _is_manifest: bool) -> bytes | None:
        return read_file("blobs/" + digest.replace(":", "/"))

    index = json.loads(read_file("index.json") or b'{"manifests": []}')
    for entry in index["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
            return _walk(entry["digest"], read)
    return StoredImage()


def _walk(root: str, read: Read) -> StoredImage:
    found = StoredImage(root)
    for blobs in _manifests(root, read, found):
        for blob in blobs:
            size = _verify(blob["digest"], read(blob["digest"], False), found)
            found.blobs[blob["digest"]] = size
            if size != blob["size"]:
                found.problems.append(f"blob {blob['digest']} has {size} bytes, not {blob['size']}")
    return found


def _manifests(digest: str, read: Read, found: StoredImage) -> Iterator[list[dict[str, Any]]]:
    """Yield the blobs of each reachable manifest."""
    content = read(digest, True)
    size = _verify(digest, content, found)
    if content is None:
        return
    found.manifests[digest] = size
    value = json.loads(content)
    for child in value.get("manifests", []):
        yield from _manifests(child["digest"], read, found)
    if "config" in value:
        found.configs.add(value["config"]["digest"])
        yield [value["config"], *value["layers"]]


def _verify(digest: str, content: bytes | None, found: StoredImage) -> int:
    if content is None:
        found.problems.append(f"{digest} is missing")
        return 0
    if _digest(content) != digest:
        found.problems.append(f"{digest} is damaged")
    return len(content)


def _digest(content: bytes) -> str:
    return f"sha256:{_hex(content)}"


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
