# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes verify the images of bundles, also of deltas and of volumes that are inserted one after the other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.bundle_tasks import bundle_to
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.signed_images import KeyPair, attach, cosign_2, cosign_3, put, signature_tag
from unit.plugins.module_utils.support.upstream_servers import settings, source

Push = Callable[..., dict[str, Any]]
Sign = Callable[[Image, KeyPair], Image]


def sign_upstream(upstream: RegistryServer, image: Image, pair: KeyPair, sign: Sign) -> None:
    """Store the signature of an image in a registry."""
    if sign is cosign_2:
        put(upstream, "team/app", signature_tag(image), sign(image, pair))
    else:
        attach(upstream, "team/app", image, sign(image, pair))


@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_with_one_drive_verifies_image_on_several_volumes(
    verified: Push, server: RegistryServer, upstream: RegistryServer, pair: KeyPair, tmp_path: Path, sign: Sign
) -> None:
    image = make_image(*(layer(name, hashlib.shake_256(name.encode()).digest(500 << 10)) for name in "abcd"))
    upstream.fill("team/app", "1", image)
    sign_upstream(upstream, image, pair, sign)
    made = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), volumes={"size": 1200 << 10})

    results = [verified(f"bundle:{volume['path']}") for volume in made["volumes"]]

    messages = [result.get("msg", "") for result in results]
    assert [re.findall(r"Insert volume (\d) of 2", message) for message in messages] == [["2"], []]
    assert results[1]["images"][0]["verified"]["digest"] == image.digest
    assert results[1]["images"][0]["referrers"] == {"copied": 1, "left_out": []}
    assert server.digest_of("team/app", "1") == image.digest


@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_verifies_image_of_delta_that_has_only_another_tag(
    verified: Push,
    server: RegistryServer,
    upstream: RegistryServer,
    image: Image,
    pair: KeyPair,
    tmp_path: Path,
    sign: Sign,
) -> None:
    base, delta = tmp_path / "base", tmp_path / "delta"
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", "2", image)
    sign_upstream(upstream, image, pair, sign)
    bundle_to(base, source(upstream), upstreams=settings(upstream))
    bundle_to(delta, source(upstream, "team/app:2"), upstreams=settings(upstream), since=str(base))
    verified(f"bundle:{base}")

    result = verified(f"bundle:{delta}")

    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["verified"]["digest"] == image.digest
    assert server.digest_of("team/app", "2") == image.digest
