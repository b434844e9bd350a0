# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Garbage collections of a :class:`RegistryServer` at chosen requests."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest

from .registry_server import RegistryServer, Response


class Collections:
    """Deletes content of a registry before some of its requests, as ``garbage-collect --delete-untagged`` does.

    Args:
        server: The registry.
        moments: The numbers of the requests before which it collects; the first request has the number 1.
        obsolete: A tag that is deleted from all repositories by the first collection.
        chooser: Chooses which content without a tag is deleted, with the manifests that refer to it; ``None`` for all.
    """

    def __init__(
        self, server: RegistryServer, moments: Iterable[int], obsolete: str, chooser: random.Random | None = None
    ) -> None:
        self._server = server
        self._moments = set(moments)
        self._obsolete = obsolete
        self._chooser = chooser
        self._lock = threading.Lock()
        self.requests = 0
        self.deleted: list[str] = []
        """The digests that were deleted, once for each deletion."""
        server.guard = self._before_request

    def _before_request(self, _path: str, _headers: Mapping[str, str]) -> Response | None:
        with self._lock:
            self.requests += 1
            if self.requests in self._moments:
                with self._server.lock:
                    self._collect()
        return None

    def _collect(self) -> None:
        for manifests in self._server.manifests.values():
            manifests.pop(self._obsolete, None)
        kept = {digest for repository in self._server.manifests for digest in marked(self._server, repository)}
        garbage = self._choose(sorted(set(self._stored()) - kept))
        for contents in self._repositories():
            for digest in garbage & contents.keys():
                del contents[digest]
                self.deleted.append(digest)
        if self._chooser is None:
            self._delete_links()

    def _delete_links(self) -> None:
        """Delete the blobs of each repository that none of its tags needs.

        distribution 3 does that even if it keeps a manifest of these blobs, because another repository has it as well.
        """
        for repository, blobs in self._server.blobs.items():
            for digest in blobs.keys() - marked(self._server, repository):
                del blobs[digest]
                self.deleted.append(digest)

    def _stored(self) -> Iterator[str]:
        for contents in self._repositories():
            yield from (name for name in contents if ":" in name)

    def _repositories(self) -> list[dict[str, Any]]:
        """Return the manifests of each repository, and its blobs."""
        return [*self._server.manifests.values(), *self._server.blobs.values()]

    def _choose(self, garbage: list[str]) -> set[str]:
        if self._chooser is None:
            return set(garbage)
        chosen = set(self._chooser.sample(garbage, self._chooser.randint(0, len(garbage))))
        # A collection deletes the manifests first, so no manifest stays without its content.
        for _level in range(3):
            for manifests in self._server.manifests.values():
                chosen |= {
                    digest
                    for digest in garbage
                    if digest in manifests and chosen.intersection(_parts(manifests[digest][1]))
                }
        return chosen


def marked(server: RegistryServer, repository: str) -> set[str]:
    """Return the digests in a repository to which a tag refers, directly or not."""
    manifests = server.manifests.get(repository, {})
    digests: set[str] = set()
    contents = [content for name, (_media_type, content) in manifests.items() if ":" not in name]
    while contents:
        content = contents.pop()
        digests.add(parse_manifest(content).descriptor.digest)
        parts = _parts(content)
        digests.update(parts)
        contents += [manifests[digest][1] for digest in parts if digest in manifests]
    return digests


def missing_content(server: RegistryServer, repository: str, tag: str) -> set[str]:
    """Return the digests that a repository does not have of the image with a tag."""
    found = server.manifests.get(repository, {}).get(tag)
    if found is None:
        return {tag}
    missing: set[str] = set()
    contents = [found[1]]
    while contents:
        content = contents.pop()
        manifest = parse_manifest(content)
        missing.update({manifest.descriptor.digest} - server.manifests[repository].keys())
        missing.update({blob.digest for blob in manifest.blobs} - server.blobs.get(repository, {}).keys())
        for child in manifest.manifests:
            if child.digest in server.manifests[repository]:
                contents.append(server.manifests[repository][child.digest][1])
            else:
                missing.add(child.digest)
    return missing


def _parts(content: bytes) -> list[str]:
    manifest = parse_manifest(content)
    return [part.digest for part in (*manifest.blobs, *manifest.manifests)]
