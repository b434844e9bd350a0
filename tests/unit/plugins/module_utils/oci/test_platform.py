# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse and match platforms."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.platform import Platform, parse_platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("Linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
    ],
)
def test_platform_is_parsed_with_system_architecture_and_variant(text: str, platform: Platform) -> None:
    assert parse_platform(text) == platform


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/amd 64", None, 7])
def test_invalid_platform_is_rejected(text: object) -> None:
    with pytest.raises(InputError, match="is not a platform"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("wanted", "available", "meant"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", True),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm", "linux/arm/v6", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/386", "linux/386", True),
    ],
)
def test_platform_without_variant_includes_all_variants(wanted: str, available: str, meant: bool) -> None:
    assert parse_platform(wanted).includes(parse_platform(available)) is meant


@pytest.mark.parametrize(
    ("host", "image", "expected"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", True),
        ("linux/amd64", "linux/386", True),
        ("linux/arm64", "linux/arm/v7", True),
        ("linux/amd64", "wasi/wasm", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm64", "linux/386", False),
        ("linux/amd64", "windows/386", False),
        ("linux/s390x", "linux/ppc64le", False),
    ],
)
def test_platform_of_host_may_run_images_that_runtimes_accept(host: str, image: str, expected: bool) -> None:
    assert parse_platform(host).may_run(parse_platform(image)) is expected
