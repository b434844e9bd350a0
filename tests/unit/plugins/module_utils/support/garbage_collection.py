# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The garbage collector of distribution, for :class:`.registry_server.RegistryServer`."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.collector import Collection

from .registry_deletion import IMPLEMENTATIONS
from .registry_server import RegistryServer


class FakeCollector:
    """Deletes blobs without a manifest, like ``registry garbage-collect``.

    With distribution 3, it also deletes manifests that neither a tag nor an index with a tag has, as ``-m`` does.

    Args:
        server: The registry, which deletes tags and images as this kind does.
        kind: A key of :data:`.registry_deletion.IMPLEMENTATIONS`.

    Attributes:
        runs: The number of collections.
        error: Raised in place of a collection.
        missing: Raised if a collector is required.
    """

    def __init__(self, server: RegistryServer, kind: str = "distribution 3") -> None:
        server.delete = IMPLEMENTATIONS[kind]
        self._server = server
        self._delete_untagged = kind == "distribution 3"
        self.runs = 0
        self.error: Exception | None = None
        self.missing: Exception | None = None

    def require(self) -> None:
        """Raise the error for a missing collector."""
        if self.missing:
            raise self.missing

    def collect(self, timeout: float) -> Collection:
        """Delete what is not needed."""
        assert timeout > 0
        if self.error:
            raise self.error
        self.runs += 1
        before = self.stored_bytes()
        with self._server.lock:
            marked = {digest for repository in self._server.manifests for digest in self._mark(repository)}
            for repository, manifests in self._server.manifests.items():
                for digest in [name for name in manifests if ":" in name and name not in marked]:
                    del manifests[digest]
                blobs = self._server.blobs.get(repository, {})
                for digest in [name for name in blobs if name not in marked]:
                    del blobs[digest]
        return Collection(2, before, self.stored_bytes())

    def stored_bytes(self) -> int:
        """Return the bytes of all manifests and blobs, each counted once."""
        contents: dict[str, int] = {}
        for manifests in self._server.manifests.values():
            contents.update({name: len(content) for name, (_type, content) in manifests.items() if ":" in name})
        for blobs in self._server.blobs.values():
            contents.update({digest: len(content) for digest, content in blobs.items()})
        return sum(contents.values())

    def _mark(self, repository: str) -> Iterator[str]:
        manifests = self._server.manifests[repository]
        tagged = {content for name, (_type, content) in manifests.items() if ":" not in name}
        for name, (_type, content) in manifests.items():
            if ":" in name and (content in tagged or not self._delete_untagged):
                yield from self._references(repository, name)

    def _references(self, repository: str, digest: str) -> Iterator[str]:
        yield digest
        try:
            manifest = parse_manifest(self._server.manifests[repository][digest][1])
        except InputError as error:
            raise AssertionError(f"the collector cannot read {digest}") from error
        yield from (blob.digest for blob in manifest.blobs)
        for child in manifest.manifests:
            if child.digest in self._server.manifests[repository]:
                yield from self._references(repository, child.digest)
