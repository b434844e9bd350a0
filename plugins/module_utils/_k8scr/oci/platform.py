# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Platforms of images (OCI image specification, "Image Index: platform")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

_WORD = re.compile(r"[a-z0-9_.-]+")
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
"""Default variants of images that declare none, by architecture."""
_32_BIT = {"amd64": "386", "arm64": "arm"}
"""The architecture whose images a runtime accepts too, by the host's (containerd/platforms, ``compare.go``)."""


@dataclass(frozen=True)
class Platform:
    """An operating system and a CPU architecture, written ``os/architecture[/variant]``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Platform:
        """Parse the ``platform`` object of a descriptor, or the config of an image."""
        words = (value.get(key) for key in ("os", "architecture", "variant"))
        return cls(*(word if isinstance(word, str) else "" for word in words))

    @property
    def is_complete(self) -> bool:
        """Whether it has an operating system and an architecture, which some tools leave empty."""
        return bool(self.os and self.architecture)

    @property
    def is_unknown(self) -> bool:
        """Whether it is the platform under which BuildKit lists attestations."""
        return self.os == "unknown"

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def includes(self, other: Platform) -> bool:
        """Whether ``other`` matches this platform. Without a variant, all variants match."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        usual = _USUAL_VARIANTS.get(self.architecture, "")
        return not self.variant or self.variant == (other.variant or usual)

    def may_run(self, other: Platform) -> bool:
        """Return whether a host of this platform may run images for ``other``, with any variant and without emulation.

        WebAssembly runs on each host that has a runtime for it.
        """
        is_32_bit = other.os == self.os and other.architecture == _32_BIT.get(self.architecture)
        return self.includes(other) or is_32_bit or other.architecture == "wasm"


def parse_platform(text: object) -> Platform:
    """Parse ``os/architecture[/variant]``, including common names of architectures such as ``x86_64``.

    Raises:
        InputError: The text is not a platform.
    """
    parts = text.strip().lower().split("/") if isinstance(text, str) else []
    if len(parts) not in (2, 3) or not all(_WORD.fullmatch(part) for part in parts):
        raise InputError(f"{text!r:.100} is not a platform", "Write it as linux/amd64 or linux/arm/v7")
    os, architecture = parts[0], _ARCHITECTURES.get(parts[1], parts[1])
    return Platform(os, architecture, *parts[2:])
