# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The path that a Pod serves below, where that is not its root."""

from __future__ import annotations

from typing import Protocol


class BasePath(Protocol):
    """The path that a Pod serves below."""

    def current(self) -> str:
        """Return the path, with a leading and without a trailing slash; empty for the root.

        Raises:
            K8scrError: The path cannot be looked up.
        """

    def missed(self, used: str) -> bool:
        """Return whether a request is worth repeating below the current path.

        The adapter calls it when the Pod serves nothing below the path that it used.

        Args:
            used: The path that :meth:`current` returned for that request.

        Raises:
            K8scrError: The path cannot be looked up, or the user may not read it.
        """
