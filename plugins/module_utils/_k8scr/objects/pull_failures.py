# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reasons of failed pulls, from the messages of kubelets and container runtimes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import one_line

_LONGEST_MESSAGE = 400
_PREFIX = re.compile(
    r"Back-off pulling image \"[^\"]*\": |ErrImagePull: |rpc error: code = \w+ desc = |"
    r"failed to pull and unpack image \"[^\"]*\": |failed to resolve image: |get image config descriptor: "
)
"""Parts of messages that every failed pull has."""
_ADDRESS = re.compile(r"https?://([^/\"]+)")
_CAUSES = (
    # containerd; CRI-O (containers/image) for an index and for a list.
    (
        r"no match for platform|no image found in (?:manifest list|image index)",
        "the image has no manifest for {platform}, the platform of the node",
        True,
    ),
    (
        r"no space left on device|disk quota exceeded|DiskPressure|ephemeral-storage",
        "the disk of the node is full",
        False,
    ),
    (
        r"server gave HTTP response to HTTPS client",
        "the registry{host} serves HTTP, and the node uses HTTPS for it",
        True,
    ),
    (r"x509:|tls: ", "TLS with the registry{host} failed", True),
    (
        r"dial tcp|connection re(?:fused|set)|no such host|i/o timeout|deadline exceeded|unexpected EOF",
        "the node does not reach the registry{host}",
        False,
    ),
    (
        r"\b40[13] |unauthorized|forbidden|denied|authorization failed|authentication required|insufficient_scope",
        "the registry{host} denies access to the image",
        True,
    ),
    (r"invalid reference format|InvalidImageName", "the name of the image is not valid", True),
    (r"not found|manifest unknown|name unknown", "the registry{host} does not have the image", True),
    (r"\b50[0234] |too ?many ?requests", "the registry{host} returned an error", False),
)


@dataclass(frozen=True)
class PullFailure:
    """A failed pull.

    Attributes:
        reason: One sentence, without a full stop.
        is_permanent: Whether the kubelet's next attempts do not help.
    """

    reason: str
    is_permanent: bool


def pull_failure(message: str, platform: str) -> PullFailure:
    """Return the failure that a message of a kubelet reports.

    Args:
        platform: The platform of the node.
    """
    text = _PREFIX.sub("", " ".join(one_line(message).split())).rstrip(".")
    host = _ADDRESS.search(text)
    for pattern, cause, is_permanent in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            sentence = cause.format(platform=platform, host=f" at {host[1]}" if host else "")
            return PullFailure(f"{sentence}: {_shortened(text)}", is_permanent)
    return PullFailure(_shortened(text) or "the kubelet gives no reason", False)


def _shortened(text: str) -> str:
    """Return the end of a message, which has the reason."""
    return text if len(text) <= _LONGEST_MESSAGE else f"…{text[1 - _LONGEST_MESSAGE :]}"
