# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the storage of a registry directly: tags, manifests, and the content of images."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from .. import inspection
from .model import StoredRepository


@dataclass
class Contents:
    """The blobs and manifests of an image.

    Attributes:
        sizes: Sizes by digest.
        problems: Missing or damaged content, one line each.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Storage:
    """The storage of CNCF distribution in a folder.

    Args:
        folder: Root folder of the storage.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / "docker/registry/v2"

    def repositories(self) -> dict[str, StoredRepository]:
        """Return all repositories by name."""
        base = self._root / "repositories"
        return {str(path.parent.relative_to(base)): self._repository(path) for path in base.glob("**/_manifests")}

    def contents(self, repository: str, digest: str) -> Contents:
        """Read an image, and verify every digest and every link by which the registry finds the content.

        Args:
            repository: Repository of the image.
            digest: Digest of the root manifest.
        """
        found = inspection.in_storage(self._folder, digest)
        folder = self._root / "repositories" / repository
        links = [folder / "_manifests/revisions" / _path(manifest) / "link" for manifest in found.manifests]
        links += [folder / "_layers" / _path(blob) / "link" for blob in found.blobs]
        missing = [f"{link.relative_to(folder)} is missing" for link in links if not link.exists()]
        return Contents({**found.blobs, **found.manifests}, [*found.problems, *missing])

    def blobs(self) -> dict[str, int]:
        """Return the sizes of all blobs by digest."""
        return inspection.stored_blobs(self._folder)

    def uploads(self) -> int:
        """Return the number of open upload sessions."""
        return inspection.open_uploads(self._folder)

    def _repository(self, manifests: Path) -> StoredRepository:
        tags = {
            path.parents[1].name: link
            for path in manifests.glob("tags/*/current/link")
            # The registry may be creating the file.
            if (link := path.read_text())
        }
        digests = {f"sha256:{path.parent.name}" for path in manifests.glob("revisions/sha256/*/link")}
        children = {child for digest in digests for child in self._children(digest)}
        return StoredRepository(tags, frozenset(digests), frozenset(children))

    def _children(self, digest: str) -> list[str]:
        name = digest.partition(":")[2]
        path = self._root / "blobs/sha256" / name[:2] / name / "data"
        if not path.exists():
            return []
        return [entry["digest"] for entry in json.loads(path.read_bytes()).get("manifests", [])]


def _path(digest: str) -> str:
    return digest.replace(":", "/")
