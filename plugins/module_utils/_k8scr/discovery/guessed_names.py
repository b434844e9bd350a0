# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts that may be names of images: in arguments, variables and fields of custom resources.

A guess may be wrong, so it is never mixed with the images of containers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InputError
from ..oci.reference import DOCKER_HUB, parse_workload_reference

_WORD = re.compile(r"[\w./:@+-]+")
_LONGEST = 1000
"""Characters of a word that may be a name."""
_IMAGE_KEY = re.compile(r"[iI]mage(Name|Ref|Reference)?$|IMAGE$")
_HOSTS = ("registry", "hub", "imageRegistry")
_REPOSITORIES = ("repository", "baseImage")
_NAMES = ("image", "imageName")
_TAGS = ("tag", "imageTag")
_DIGESTS = ("digest", "sha")
NAME_PARTS = frozenset((*_HOSTS, *_REPOSITORIES, *_NAMES))
"""The fields of an object that are parts of one name, next to its tag or digest."""


def names_in(text: str, hint: str = "") -> Iterator[str]:
    """Yield the words of a text that may be names of images.

    A word must have a host with a tag or a digest. After a word with ``image``, such as a flag, and in a field or
    variable with such a name, a host or a tag is enough.

    Args:
        hint: The name of the field or the variable.
    """
    if "/" not in text:
        return
    is_hinted, before = "image" in hint.lower(), ""
    seen: set[str] = set()
    for match in _WORD.finditer(text):
        word = match[0]
        if "/" in word and len(word) <= _LONGEST and word not in seen:
            seen.add(word)
            if _may_be_image(word.rstrip(".:"), is_hinted or "image" in before):
                yield word.rstrip(".:")
        before = word.lower() if len(word) <= _LONGEST else ""


def is_image_key(key: str) -> bool:
    """Return whether a field with this key usually names an image: ``image``, ``sidecarImage``, ``docker_image``."""
    return _IMAGE_KEY.search(key) is not None


def is_image_name(text: str) -> bool:
    """Return whether a text that is the value of such a field may be a name. Single words are values of all kinds."""
    return ("/" in text or ":" in text) and len(text) <= _LONGEST and _parsed(text) is not None


def joined_name(item: Mapping[str, Any]) -> str | None:
    """Return the name whose host, repository and tag are separate fields of an object; None if they are not."""
    host, repository = _text(item, _HOSTS), _text(item, _REPOSITORIES)
    image = _text(item, _NAMES)
    tag, digest = _text(item, _TAGS) or (_text(item, ("version",)) if image else None), _text(item, _DIGESTS)
    if not (tag or digest) or not (repository or (host and image)):
        return None
    # Next to a repository, a complete name is another image.
    parts = (host, repository, image if image and not (repository and ("/" in image or ":" in image)) else None)
    joined = "/".join(part.strip("/") for part in parts if part) + (f":{tag}" if tag else "")
    if digest:
        joined += f"@{digest if ':' in digest else f'sha256:{digest}'}"
    return joined if _parsed(joined) is not None else None


def _text(item: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the first text at one of the keys. A number is a tag without quotes, which YAML may have shortened."""
    for key in keys:
        value = item.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _may_be_image(word: str, is_hinted: bool) -> bool:
    is_exact = "@" in word or ":" in word.rpartition("/")[2]
    name = _parsed(word) if is_exact or is_hinted else None
    has_host = name is not None and (name.host != DOCKER_HUB or word.startswith((DOCKER_HUB, "index.")))
    return name is not None and ((has_host and is_exact) or (is_hinted and (has_host or is_exact)))


def _parsed(text: str) -> Any:
    try:
        return parse_workload_reference(text)
    except InputError:
        return None
