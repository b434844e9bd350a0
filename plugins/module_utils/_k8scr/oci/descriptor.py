# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Descriptors of content (OCI image specification, "OCI Content Descriptors")."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import DigestMismatchError, InputError
from .digest import parse_digest, verify_content
from .platform import Platform

_MEDIA_TYPE = re.compile(r"[!-~][ -~]{0,254}")
"""Valid characters of an HTTP header. The specification's grammar (RFC 6838) is stricter than common practice."""
_PARSED = ("mediaType", "digest", "size", "annotations")
_MAXIMUM_SIZE = 1 << 53
"""Bytes. JSON parsers disagree on larger numbers (RFC 8259, "Numbers")."""


@dataclass(frozen=True)
class Descriptor:
    """The media type, the digest and the size in bytes of some content.

    Two descriptors are equal if these three are equal. The other properties belong to the referring manifest.
    ``more`` has the properties without a field, unchanged, and the complete platform.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    platform: Platform | None = field(default=None, compare=False)
    more: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Parse the JSON object of a descriptor in a manifest or an index.

        Raises:
            InputError: A required property is missing or invalid.
        """
        if not isinstance(value, Mapping):
            raise InputError(f"a descriptor is not a JSON object ({type(value).__name__})")
        media_type, size, target = value.get("mediaType"), value.get("size"), value.get("platform")
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            what = repr(media_type) if isinstance(media_type, str) else "none"
            raise InputError(f"a descriptor's mediaType is invalid: {what:.100}")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAXIMUM_SIZE:
            raise InputError("a descriptor's size is not a valid number of bytes")
        annotations = value.get("annotations") or {}
        if not isinstance(annotations, Mapping) or not all(
            isinstance(a, (str, type(None))) for a in annotations.values()
        ):
            raise InputError("a descriptor's annotations are not a JSON object of strings")
        platform = Platform.from_json(target) if isinstance(target, Mapping) else None
        return cls(
            media_type,
            parse_digest(value.get("digest")),
            size,
            {key: text for key, text in annotations.items() if text is not None},
            platform if platform and platform.is_complete else None,
            {key: text for key, text in value.items() if key not in _PARSED},
        )

    @property
    def embedded(self) -> bytes | None:
        """The content in the property ``data``; ``None`` without it, or if its content has another digest or size.

        OCI image specification, "Embedded Content".
        """
        data = self.more.get("data")
        try:
            content = base64.b64decode(data, validate=True) if isinstance(data, str) else None
            return None if content is None else verify_content(content, self.digest, "the embedded content", self.size)
        except (ValueError, DigestMismatchError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the descriptor, including all properties as read."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            names = ("architecture", "os", "variant")
            value["platform"] = {name: text for name in names if (text := getattr(self.platform, name))}
        value.update(self.more)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value
