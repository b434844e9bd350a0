# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags for images that were stored by digest only."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag, is_digest_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference

_DIGEST = "sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1"


def test_digest_tag_has_first_twelve_digits() -> None:
    assert digest_tag(_DIGEST) == "k8scr-4bcff63911fc"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_tag_is_valid_and_recognized(algorithm: str) -> None:
    digest = digest_of(b"manifest", algorithm)
    tag = digest_tag(digest)

    assert parse_reference(f"registry.example.com/team/api:{tag}").tag == tag
    assert is_digest_tag(tag)
    assert is_digest_tag(tag, digest)


def test_digest_tag_of_another_digest_is_not_recognized() -> None:
    assert not is_digest_tag("k8scr-4bcff63911fd", _DIGEST)


@pytest.mark.parametrize(
    "tag", ["1.2", "k8scr-", "k8scr-4bcff63911f", "k8scr-4bcff63911fc1", "k8scr-4BCFF63911FC", "xk8scr-4bcff63911fc"]
)
def test_other_tags_are_not_recognized(tag: str) -> None:
    assert not is_digest_tag(tag)
