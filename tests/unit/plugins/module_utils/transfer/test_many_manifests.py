# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images with hostile numbers of manifests: each fails after a few requests, and the error says the number."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    MissingManifestError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph import walk_manifests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    parse_manifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.platform import Platform
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.platforms import PlatformSource
from unit.plugins.module_utils.support.copies import attached_to
from unit.plugins.module_utils.support.images import describe, encode, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.upstream_servers import Push, error_of, host, settings, source


def index_of(entries: list[dict[str, Any]]) -> Manifest:
    """Return an index with these entries."""
    return parse_manifest(encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))


def entry(number: int, media_type: str = OCI_MANIFEST, **more: Any) -> dict[str, Any]:
    """Return the entry of a manifest that does not exist."""
    return describe(b"%d" % number, media_type, **more)


def with_platforms(number: int) -> list[dict[str, Any]]:
    """Return the entries of missing manifests, each with its own platform."""
    return [entry(each, platform={"os": "linux", "architecture": f"a{each}"}) for each in range(number)]


class Manifests:
    """A source of these manifests, which counts the requests for manifests.

    Args:
        lost: The number of requests after which the source is unreachable.
    """

    description = "the source"
    referrers = None

    def __init__(self, *manifests: Manifest, lost: int = 1 << 30) -> None:
        self.requests = 0
        self._manifests = {manifest.descriptor.digest: manifest for manifest in manifests}
        self._lost = lost

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        self.requests += 1
        if self.requests > self._lost:
            raise ConnectionLostError("unreachable")
        if descriptor.digest not in self._manifests:
            raise MissingManifestError(f"the source does not have the manifest {descriptor.digest}")
        return self._manifests[descriptor.digest]


def walk(manifests: Manifests, root: Manifest, partial: bool = False) -> list[Manifest]:
    return list(walk_manifests(manifests, root.descriptor, partial))


def test_index_with_many_entries_is_rejected_before_their_requests() -> None:
    index = index_of(with_platforms(19_000))
    manifests = Manifests(index)

    with pytest.raises(SourceError, match=r"lists 19000 manifests, more than the maximum of 1000$"):
        walk(manifests, index)

    assert manifests.requests == 1


def test_push_of_index_with_many_entries_sends_few_requests(push: Push, upstream: RegistryServer) -> None:
    index = index_of(with_platforms(19_000))
    upstream.manifests["team/app"] = dict.fromkeys(("1", index.descriptor.digest), (OCI_INDEX, index.content))

    result = push(source(upstream), upstreams=settings(upstream))

    assert f"index {index.descriptor.digest} in repository team/app in {host(upstream)} lists 19000" in error_of(result)
    assert len(upstream.requests) < 5


def test_walk_stops_at_first_missing_manifest_without_platform() -> None:
    index = index_of([entry(number) for number in range(1000)])
    manifests = Manifests(index)

    with pytest.raises(MissingManifestError):
        walk(manifests, index)

    assert manifests.requests == 2


def test_walk_looks_up_few_other_platforms_after_missing_manifest() -> None:
    index = index_of(with_platforms(1000))
    manifests = Manifests(index)

    with pytest.raises(MissingManifestError):
        walk(manifests, index)

    assert manifests.requests == 102


def test_error_for_missing_platform_lists_existing_ones_of_large_index() -> None:
    image = make_image()
    existing = parse_manifest(image.contents[image.digest])
    described = {**image.root.to_json(), "platform": {"os": "linux", "architecture": "amd64"}}
    index = index_of([described, *with_platforms(900)])

    with pytest.raises(MissingManifestError, match=r"no image for linux/a0: .* platforms: \[linux/amd64\]\."):
        walk(Manifests(index, existing), index)


def test_lookups_of_platforms_end_when_source_is_unreachable() -> None:
    index = index_of(with_platforms(1000))
    manifests = Manifests(index, lost=10)

    with pytest.raises(MissingManifestError):
        walk(manifests, index)

    assert manifests.requests == 11


@pytest.mark.parametrize("partial", [False, True])
def test_nested_indexes_are_rejected_after_limit_of_manifests(partial: bool) -> None:
    nested = [index_of([entry(1000 * outer + inner) for inner in range(999)]) for outer in range(3)]
    images = [Manifest(descriptor, b"") for index in nested for descriptor in index.manifests]
    root = index_of([each.descriptor.to_json() for each in nested])
    manifests = Manifests(root, *nested, *images)

    if partial:
        assert len(walk(manifests, root, partial)) <= 1000
    else:
        with pytest.raises(SourceError, match="an image in the source has more than 1000 manifests"):
            walk(manifests, root)

    assert manifests.requests <= 1000


def test_selection_of_platforms_is_limited_to_maximum_of_entries() -> None:
    index = index_of(with_platforms(19_000))
    manifests: Any = Manifests(index)
    image: Any = type("Image", (), {"root": index.descriptor, "deferred": None, "name": None})()

    with pytest.raises(SourceError, match="lists 19000 manifests"):
        PlatformSource(manifests, [Platform("linux", "a1")]).select(image)


def test_referrers_that_are_listed_again_and_again_are_limited() -> None:
    image = make_image()
    root = parse_manifest(image.contents[image.digest])

    class Repeating:
        requests = 0

        def of(self, _digest: str) -> list[dict[str, Any]]:
            self.requests += 1
            return [entry(number) for number in range(100)]

        def tagged(self, _tag: str) -> None:
            return None

    referrers = Repeating()
    source_with_referrers: Any = Manifests(root)
    source_with_referrers.referrers = referrers

    with pytest.raises(SourceError, match="more than 1000 manifests in the source refer to one image"):
        attached_to(source_with_referrers, root.descriptor)

    assert referrers.requests == 11
