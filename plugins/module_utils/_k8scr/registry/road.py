# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What uploads and downloads need of the registry that they go to or come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..oci.content import Blocks

if TYPE_CHECKING:
    import requests


class RegistryRoad(Protocol):
    """The way to a registry.

    Attributes:
        description: What the registry is, for people.
    """

    description: str

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request, once."""

    def limit(self, blocks: Blocks) -> Blocks:
        """Pass a body's blocks on, as fast as may be."""
