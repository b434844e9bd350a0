# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Platforms that an image is made for (OCI image specification, "Image Index: platform")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

_WORD = re.compile(r"[a-z0-9_.-]+")
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
"""What images of an architecture are made for when they do not say."""


@dataclass(frozen=True)
class Platform:
    """An operating system and a processor, written ``os/architecture[/variant]``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Platform:
        """Return the platform of a descriptor's ``platform`` object, or of an image's config."""
        words = (value.get(key) for key in ("os", "architecture", "variant"))
        return cls(*(word if isinstance(word, str) else "" for word in words))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def includes(self, other: Platform) -> bool:
        """Whether who asks for this platform means ``other``; without a variant all variants are meant."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        usual = _USUAL_VARIANTS.get(self.architecture, "")
        return not self.variant or self.variant == (other.variant or usual)


def parse_platform(text: object) -> Platform:
    """Return the platform that the user means by ``os/architecture[/variant]``.

    Raises:
        InputError: It is not written so.
    """
    parts = text.strip().lower().split("/") if isinstance(text, str) else []
    if len(parts) not in (2, 3) or not all(_WORD.fullmatch(part) for part in parts):
        raise InputError(f"{text!r:.100} is not a platform", "Write it as linux/amd64 or linux/arm/v7")
    os, architecture = parts[0], _ARCHITECTURES.get(parts[1], parts[1])
    return Platform(os, architecture, *parts[2:])
