# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Return the images in one text or value, as the filter ``images_in`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .collection import Discovery, Origin
from .custom_resources import ResourcePaths
from .manifests import NO_OBJECT, find_in_text, find_in_value


def images_in(manifests: Any, guess: bool = False, extra_paths: Mapping[str, Any] | None = None) -> list[str]:
    """Return the full names of the images in manifests, sorted.

    Args:
        manifests: A YAML or JSON text, an object, or a list of objects.
        guess: Whether to return the guessed names too.
        extra_paths: The paths of images in custom resources, by kind.

    Raises:
        InputError: The text cannot be read, is not a manifest, or has an invalid name. The message has all problems.
    """
    discovery, paths = Discovery(), ResourcePaths(extra_paths)
    find = find_in_text if isinstance(manifests, (str, bytes)) else find_in_value
    find(manifests, Origin(), discovery, paths)
    if discovery.problems:
        raise InputError("; ".join(map(str, discovery.problems)))
    if any(skipped.reason == NO_OBJECT for skipped in discovery.skipped):
        # It may be the path of a file, in which no image would be found.
        raise InputError(
            "a document is a text or a number, not an object",
            "For a file, read it first: lookup('ansible.builtin.file', PATH)",
        )
    found = (*discovery.found, *(discovery.guesses if guess else ()))
    return sorted(str(image.name) for image in found)
