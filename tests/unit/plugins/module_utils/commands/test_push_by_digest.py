# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_push`` protects images without a user's tag from garbage collection, with a tag for their digest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag
from unit.plugins.module_utils.support.images import Image, make_image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer

Push = Callable[..., dict[str, Any]]


@pytest.fixture
def entry(tmp_path: Path, image: Image) -> dict[str, str]:
    """An entry for ``image`` that names it by digest only."""
    write_layout(tmp_path, {"1.0": image})
    return {"source": f"oci:{tmp_path}", "name": f"team/api@{image.digest}"}


def test_push_by_digest_sets_tag_for_digest(
    push: Push, server: RegistryServer, entry: dict[str, str], image: Image
) -> None:
    result = push(entry)

    (pushed,) = result["images"]
    assert (pushed["tag"], pushed["target"]) == (None, f"team/api@{image.digest}")
    assert (pushed["changed"], pushed["digest"], pushed["digest_before"]) == (True, image.digest, None)
    assert server.manifests["team/api"].keys() == {image.digest, digest_tag(image.digest)}
    assert server.digest_of("team/api", digest_tag(image.digest)) == image.digest
    start = f"team/api@{image.digest} {image.digest} (tag {digest_tag(image.digest)}: "
    assert result["diff"]["after"].startswith(start)


def test_push_by_digest_sends_one_request_without_changes(
    push: Push, server: RegistryServer, entry: dict[str, str], image: Image
) -> None:
    push(entry)
    server.requests.clear()

    result = push(entry)

    assert result["changed"] is False
    assert result["images"][0]["digest"] == image.digest
    assert list(map(str, server.requests)) == [f"HEAD /v2/team/api/manifests/{digest_tag(image.digest)}"]


def test_push_by_digest_adds_missing_tag_to_existing_image(
    push: Push, server: RegistryServer, entry: dict[str, str], image: Image
) -> None:
    server.fill("team/api", None, image)

    planned = push(entry, check_mode=True)
    result = push(entry)

    (pushed,) = result["images"]
    assert planned["changed"] is True
    assert (pushed["changed"], pushed["digest"], pushed["digest_before"]) == (True, image.digest, image.digest)
    assert (pushed["sent"]["blobs"], pushed["blobs"], pushed["tag"]) == (0, [], None)
    assert server.digest_of("team/api", digest_tag(image.digest)) == image.digest
    assert server.received("PUT", "POST", "PATCH") == [f"PUT /v2/team/api/manifests/{digest_tag(image.digest)}"]
    assert planned["diff"] == result["diff"]
    assert result["diff"]["before"] != result["diff"]["after"]


def test_push_by_digest_sends_lost_blobs_of_existing_image(
    push: Push, server: RegistryServer, entry: dict[str, str], image: Image
) -> None:
    server.fill("team/api", None, image)
    del server.blobs["team/api"][image.layers[0]]

    result = push(entry)

    assert result["images"][0]["sent"]["blobs"] == 1
    assert server.blobs["team/api"].keys() == image.blobs.keys()
    assert server.digest_of("team/api", digest_tag(image.digest)) == image.digest


def test_push_by_digest_moves_tag_with_same_digits(
    push: Push, server: RegistryServer, entry: dict[str, str], image: Image, other_image: Image
) -> None:
    server.fill("team/api", digest_tag(image.digest), other_image)

    result = push(entry)

    assert result["images"][0]["changed"] is True
    assert server.digest_of("team/api", digest_tag(image.digest)) == image.digest


def test_push_by_tag_and_digest_sets_only_named_tag(
    push: Push, server: RegistryServer, entry: dict[str, str], image: Image
) -> None:
    result = push({**entry, "name": f"team/api:1.0@{image.digest}"})

    assert result["images"][0]["tag"] == "1.0"
    assert server.manifests["team/api"].keys() == {image.digest, "1.0"}


def test_push_of_referrers_sets_no_tag_for_their_digests(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    subject = {"mediaType": image.root.media_type, "digest": image.digest, "size": image.root.size}
    signature = make_image(subject=subject)
    upstream.fill("team/api", "1.0", image)
    upstream.fill("team/api", image.digest.replace(":", "-") + ".sig", signature)
    host = upstream.url.removeprefix("http://")

    result = push(
        {"source": f"docker://{host}/team/api:1.0", "referrers": True}, upstreams=[{"host": host, "plain_http": True}]
    )

    assert result["changed"] is True
    assert not [tag for tag in server.manifests["team/api"] if tag.startswith("k8scr-")]
