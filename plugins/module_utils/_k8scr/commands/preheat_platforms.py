# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the platforms of images with those of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..objects.nodes import Node
from ..oci.platform import Platform, parse_platform
from ..oci.reference import parse_workload_reference


def read_platforms(value: Mapping[str, Any], images: Iterable[str]) -> dict[str, list[Platform]]:
    """Return the platforms of these images in the option ``platforms``, which may name them in another form.

    Raises:
        InputError: A name or a platform is invalid.
    """
    known = {}
    for name, platforms in value.items():
        if not isinstance(platforms, list):
            raise InputError(f"the platforms of {name} are not a list", "Write them as [linux/amd64, linux/arm64]")
        known[parse_workload_reference(str(name))] = [parse_platform(platform) for platform in platforms]
    return {image: known.get(parse_workload_reference(image), []) for image in images}


def platform_mismatch(platforms: Sequence[Platform], node: Node) -> str:
    """Return why no Pod can run an image with these platforms on a node; empty if one can, or without platforms."""
    host = parse_platform(node.platform)
    if not platforms or any(map(host.may_run, platforms)):
        return ""
    return f"the image has {', '.join(map(str, platforms)):.400}, the node is {host}"
