# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Descriptors: what names a piece of content (OCI image specification, "OCI Content Descriptors")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .digest import parse_digest
from .platform import Platform

_MEDIA_TYPE = re.compile(r"[!-~][ -~]{0,254}")
"""What a header can carry; the specification's grammar (RFC 6838) is stricter than what is in use."""
_OWN = ("mediaType", "digest", "size", "annotations")
_MAXIMUM_SIZE = 1 << 53
"""More bytes than any blob has: beyond it JSON readers differ on what a number is (RFC 8259, "Numbers")."""


@dataclass(frozen=True)
class Descriptor:
    """A piece of content by its media type, digest and size in bytes.

    Two descriptors are equal when these three are; the rest is what the one who points there says about it.

    Attributes:
        more: The other properties, as they were read, the whole platform among them.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    platform: Platform | None = field(default=None, compare=False)
    more: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Return the descriptor that a manifest or an index holds as a JSON object.

        Raises:
            InputError: It lacks a property that the specification requires, or one is of the wrong kind.
        """
        if not isinstance(value, Mapping):
            raise InputError(f"a JSON value of another kind ({type(value).__name__}) is not a descriptor")
        media_type, size, platform = value.get("mediaType"), value.get("size"), value.get("platform")
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            what = repr(media_type) if isinstance(media_type, str) else "none"
            raise InputError(f"a descriptor has no mediaType that can be one: {what:.100}")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAXIMUM_SIZE:
            raise InputError("a descriptor's size is not the number of a blob's bytes")
        annotations = value.get("annotations") or {}
        if not isinstance(annotations, Mapping) or not all(isinstance(text, str) for text in annotations.values()):
            raise InputError("a descriptor's annotations are not a JSON object of strings")
        return cls(
            media_type,
            parse_digest(value.get("digest")),
            size,
            dict(annotations),
            Platform.from_json(platform) if isinstance(platform, Mapping) else None,
            {key: text for key, text in value.items() if key not in _OWN},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of an index's entry, with all that was read of it."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            value["platform"] = {
                key: text
                for key, text in (
                    ("architecture", self.platform.architecture),
                    ("os", self.platform.os),
                    ("variant", self.platform.variant),
                )
                if text
            }
        value.update(self.more)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value
