# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Platforms that an image is made for (OCI image specification, "Image Index: platform")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Platform:
    """An operating system and a processor, written ``os/architecture[/variant]``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Platform:
        """Return the platform of a descriptor's ``platform`` object."""
        return cls(*(str(value.get(key, "")) for key in ("os", "architecture", "variant")))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
