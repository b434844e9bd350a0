# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is there: every byte read back and hashed, with nothing of the collection.

Everything returns what is wrong, a line for each.
"""

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
"""Reads the content with a digest, which is a manifest or not; None where it is not there."""


@dataclass
class Found:
    """An image as it is found somewhere.

    Attributes:
        digest: The digest of its root; None where there is none.
        configs: The digests of its configs.
        blobs: Its blobs, and their sizes.
        problems: What keeps it from being whole.
    """

    digest: str | None = None
    configs: set[str] = field(default_factory=set)
    blobs: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def is_the(self, identity: str) -> bool:
        """Whether it is the image with this digest, or image ID."""
        return identity == self.digest or identity in self.configs


def in_registry(address: str, repository: str, tag: str) -> Found:
    """Read an image back from a registry, without the way through the API server."""
    url = f"http://{address}/v2/{repository}"
    with requests.Session() as session:
        session.trust_env = False

        def read(reference: str, is_manifest: bool) -> bytes | None:
            path = f"manifests/{reference}" if is_manifest else f"blobs/{reference}"
            answer = session.get(f"{url}/{path}", headers=_ACCEPT, timeout=30)
            return answer.content if answer.status_code == 200 else None

        content = read(tag, True)
        return _walk(_digest(content), read) if content is not None else Found()


def in_layout(path: Path, name: str) -> Found:
    """Read an image back from an OCI layout, or from an archive of one."""
    if path.is_dir():

        def file(member: str) -> bytes | None:
            there = path / member
            return there.read_bytes() if there.exists() else None

        return _in_files(file, name)
    if not path.exists():
        return Found()
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar}

        def entry(member: str) -> bytes | None:
            stream = tar.extractfile(members[member]) if member in members else None
            return stream.read() if stream else None

        return _in_files(entry, name)


def damaged_blobs(storage: Path) -> list[str]:
    """The blobs in a registry's storage that are not what their names say, whether or not an image has them."""
    blobs = storage.glob("docker/registry/v2/blobs/sha256/*/*/data")
    return [
        f"stored blob {path.parent.name} is damaged" for path in blobs if _hex(path.read_bytes()) != path.parent.name
    ]


def stored_blobs(storage: Path) -> dict[str, int]:
    """The blobs in a registry's storage by their digests, and their bytes."""
    files = storage.glob("docker/registry/v2/blobs/sha256/*/*/data")
    return {f"sha256:{path.parent.name}": path.stat().st_size for path in files}


def open_uploads(storage: Path) -> int:
    """How many uploads a registry has that nobody has ended."""
    return len(list(storage.glob("docker/registry/v2/repositories/**/_uploads/*/startedat")))


def _in_files(read_file: Callable[[str], bytes | None], name: str) -> Found:
    def read(digest: str, _is_manifest: bool) -> bytes | None:
        return read_file("blobs/" + digest.replace(":", "/"))

    index = json.loads(read_file("index.json") or b'{"manifests": []}')
    for entry in index["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
            return _walk(entry["digest"], read)
    return Found()


def _walk(root: str, read: Read) -> Found:
    found = Found(root)
    for blobs in _manifests(root, read, found):
        for blob in blobs:
            size = _examine(blob["digest"], read(blob["digest"], False), found)
            found.blobs[blob["digest"]] = size
            if size != blob["size"]:
                found.problems.append(f"blob {blob['digest']} has {size} bytes, not {blob['size']}")
    return found


def _manifests(digest: str, read: Read, found: Found) -> Iterator[list[dict[str, Any]]]:
    """The blobs of each manifest that can be reached."""
    content = read(digest, True)
    _examine(digest, content, found)
    if content is None:
        return
    value = json.loads(content)
    for child in value.get("manifests", []):
        yield from _manifests(child["digest"], read, found)
    if "config" in value:
        found.configs.add(value["config"]["digest"])
        yield [value["config"], *value["layers"]]


def _examine(digest: str, content: bytes | None, found: Found) -> int:
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
