# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse, serialize and compare descriptors."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.platform import Platform

DIGEST = "sha256:" + "a" * 64
PLAIN: dict[str, Any] = {"mediaType": "application/x", "digest": DIGEST, "size": 7}


def test_descriptor_is_parsed_with_platform_and_annotations() -> None:
    platform = {"os": "linux", "architecture": "arm", "variant": "v7"}

    descriptor = Descriptor.from_json({**PLAIN, "platform": platform, "annotations": {"key": "text"}})

    assert (descriptor.media_type, descriptor.digest, descriptor.size) == ("application/x", DIGEST, 7)
    assert descriptor.platform == Platform("linux", "arm", "v7")
    assert descriptor.annotations == {"key": "text"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"annotations": {"key": "text"}},
        {"platform": {"architecture": "amd64", "os": "linux"}},
        {"platform": {"architecture": "arm", "os": "linux", "variant": "v7"}},
        {"platform": {"architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k"]}},
        {"artifactType": "application/x.sbom", "urls": ["https://example.com/x"], "data": "eA=="},
    ],
)
def test_descriptor_is_serialized_as_parsed(more: dict[str, Any]) -> None:
    assert Descriptor.from_json({**PLAIN, **more}).to_json() == {**PLAIN, **more}


def test_descriptors_are_equal_despite_other_annotations() -> None:
    named = Descriptor.from_json({**PLAIN, "annotations": {"name": "app:1"}})

    assert named == Descriptor.from_json(PLAIN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mediaType": None},
        {"mediaType": ""},
        {"mediaType": ["application/x"]},
        {"mediaType": "application/x\r\nX-Other: header"},
        {"mediaType": "application/é"},
        {"digest": None},
        {"digest": "sha256:abc"},
        {"digest": {}},
        {"size": None},
        {"size": -1},
        {"size": 1.5},
        {"size": "7"},
        {"size": True},
        {"size": 10**30},
        {"annotations": ["text"]},
        {"annotations": {"key": 7}},
        {"annotations": {"key": ["text"]}},
    ],
)
def test_descriptor_is_rejected_with_invalid_property(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Descriptor.from_json({**PLAIN, **wrong})


@pytest.mark.parametrize("data", ["", "eA==", "%%%", 7, None])
def test_embedded_content_is_left_out_unless_it_matches_the_descriptor(data: object) -> None:
    assert Descriptor.from_json({**PLAIN, "data": data}).embedded is None


@pytest.mark.parametrize(("content", "data"), [(b"", ""), (b"content", "Y29udGVudA==")])
def test_embedded_content_is_decoded(content: bytes, data: str) -> None:
    descriptor = {**PLAIN, "digest": digest_of(content), "size": len(content), "data": data}

    assert Descriptor.from_json(descriptor).embedded == content


@pytest.mark.parametrize("value", [None, "text", 7, [PLAIN]])
def test_descriptor_is_rejected_unless_it_is_an_object(value: object) -> None:
    with pytest.raises(InputError, match="a descriptor is not a JSON object"):
        Descriptor.from_json(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({}, ""),
        ({"os": ["linux"], "architecture": {}, "variant": 7}, ""),
    ],
)
def test_platform_is_serialized_like_docker(value: dict[str, Any], text: str) -> None:
    assert str(Platform.from_json(value)) == text
