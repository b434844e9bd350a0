# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags of the collection for images that were stored by digest only.

distribution's ``garbage-collect --delete-untagged`` deletes manifests without a tag, even if Pods use them.
"""

from __future__ import annotations

import re

from .digest import split_digest

_TAG = re.compile(r"k8scr-([0-9a-f]{12})")
_DIGITS = 12


def digest_tag(digest: str) -> str:
    """Return the collection's tag for a digest, such as ``k8scr-4bcff63911fc``."""
    return f"k8scr-{split_digest(digest)[1][:_DIGITS]}"


def is_digest_tag(tag: str, digest: str | None = None) -> bool:
    """Return whether a tag is one of the collection's.

    Args:
        digest: The digest with the tag, if it is known. A tag with the digits of another digest is a user's.
    """
    return _TAG.fullmatch(tag) is not None and (digest is None or tag == digest_tag(digest))
