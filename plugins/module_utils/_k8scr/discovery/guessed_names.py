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
_SEPARATORS = ".:+-/"
_LONGEST = 1000
"""Characters of a word that may be a name."""
_IMAGE_KEY = re.compile(r"[iI]mage(Name|Ref|Reference)?$|IMAGE$")
_HOSTS = ("registry", "hub", "imageRegistry")
_REPOSITORIES = ("repository", "baseImage")
_NAMES = ("image", "imageName")
_TAGS = ("tag", "imageTag")
_DIGESTS = ("digest", "sha")
_PARTS = frozenset((*_HOSTS, *_REPOSITORIES, *_NAMES, *_TAGS, *_DIGESTS, "version"))
_PREFIXED_PARTS = ("registry", "repository", "tag", "digest")
"""The fields that may have a prefix, as in ``trivy.repository``, ``imageTag`` and ``DB_TAG``."""


def names_in(text: str, hint: str = "") -> Iterator[str]:
    """Yield the words of a text that may be names of images.

    A word must have a host with a tag or a digest. After a word with ``image``, such as a flag, and in a field or
    variable with such a name, a host or a tag is enough. A word without a slash is one only after a field or a flag
    with such a name, and with a tag.

    Args:
        hint: The name of the field or the variable.
    """
    if "/" not in text and ":" not in text:
        return
    in_field, before, end = "image" in hint.lower(), "", 0
    seen: set[tuple[str, bool]] = set()
    for match in _WORD.finditer(text):
        word = match[0]
        if not word.strip(_SEPARATORS):
            continue  # In JSON, the colon after a key is a word of its own.
        name, is_hinted = word.rstrip(".:"), in_field or "image" in before.lower()
        may_be_name = "/" in word or (":" in name and _is_field(before, text[end : match.start()]))
        if may_be_name and len(word) <= _LONGEST and (word, is_hinted) not in seen:
            seen.add((word, is_hinted))
            if _may_be_image(name, is_hinted):
                yield name
        before, end = (word if len(word) <= _LONGEST else ""), match.end()


def _is_field(word: str, after: str) -> bool:
    """Return whether a word in a text is the name of a field of an image, or such a flag, with a value after it."""
    has_value = word.endswith(":") or word.startswith("-") or ":" in after or "=" in after
    return has_value and is_image_key(word.rstrip(":"))


def is_image_key(key: str) -> bool:
    """Return whether a field with this key usually names an image: ``image``, ``sidecarImage``, ``docker_image``."""
    return _IMAGE_KEY.search(key) is not None


def is_image_name(text: str) -> bool:
    """Return whether a text that is the value of such a field may be a name. Single words are values of all kinds."""
    return ("/" in text or ":" in text) and len(text) <= _LONGEST and _parsed(text) is not None


def joined_names(item: Mapping[str, Any], key: str, shared: Mapping[str, Any]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the names whose host, repository and tag are separate fields of an object, each with these fields.

    Args:
        key: The field with the object.
        shared: The host and the tag that an outer object has for an image without both.
    """
    groups: dict[str, dict[str, str]] = {"": {field: field for field in item if field in _PARTS}}
    if is_image_key(key) and not any(map(groups[""].get, _NAMES)) and "/" not in (_text(item, _REPOSITORIES) or ""):
        groups[""].update({"image": "name"} if "name" in item else {})
    for field in item:
        part = next((part for part in _PREFIXED_PARTS if field[-len(part) :].lower() == part), "")
        prefix = field[: -len(part)].rstrip("._-") if part else ""
        if prefix:
            groups.setdefault(prefix, {})[part] = field
    for fields in groups.values():
        name = _joined({part: item[field] for part, field in fields.items()}, shared)
        if name:
            yield name, frozenset(field for field in fields.values() if not isinstance(item[field], (dict, list)))


def shared_parts(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the host and the tag that an object has for the images below it, as the values of Istio do."""
    parts = {key: item[key] for key in ("hub", "tag") if _text(item, (key,))}
    return parts if len(parts) == 2 else {}


def _joined(item: Mapping[str, Any], shared: Mapping[str, Any]) -> str | None:
    image, repository = _text(item, _NAMES), _text(item, _REPOSITORIES)
    is_path = (
        image is not None
        and not image.startswith("/")
        and "/" in image
        and "@" not in image
        and ":" not in image.rpartition("/")[2]
    )
    if image and "/" not in image and ":" not in image and not repository:
        item = {**shared, **item}
    host = _text(item, _HOSTS)
    tag, digest = _text(item, _TAGS) or (_text(item, ("version",)) if image else None), _text(item, _DIGESTS)
    if not (tag or digest) or not (repository or is_path or (host and image)):
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
