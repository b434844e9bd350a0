# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions of Kubernetes objects: parse them, and redact Secrets in results."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..files.file_access import read_small
from ..files.vault import reject_vault
from ..files.yaml_text import json_value, read_documents
from ..oci.json_object import json_object
from ..redaction import HIDDEN

_SERVER_FIELDS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MAXIMUM_SIZE = 64 << 20
"""The bytes of a file with definitions; the API server accepts 3 MiB for one object."""
_NAME = re.compile(r"[^/%?#\\\s\x00-\x20\x7f]*")
"""A name that can be a segment of a path as it is."""


@dataclass(frozen=True)
class Definition:
    """The definition of an object.

    Attributes:
        source: Its document in messages; empty if the text has no other documents.
    """

    item: dict[str, Any]
    source: str = ""


def read_definitions(definition: Any, source: str = "definition") -> list[dict[str, Any]]:
    """Return the objects in a definition.

    Args:
        definition: YAML text with one or more documents, a dictionary, or a list of either. A Kubernetes list
            (``kind: List``) is replaced by its items.
        source: The name of the option or file in messages.

    Raises:
        InputError: The definition is not YAML, or has an item that is not a Kubernetes object with a name.
    """
    return [found.item for found in _read(definition, source)]


def read_options(definition: Any, src: str | None) -> list[Definition]:
    """Return the objects in the options ``definition`` or ``src``, the path of a file.

    Raises:
        InputError: The options have no objects, or cannot be read.
    """
    found = list(_read(_content_of(src), src) if src else _read(definition, "definition"))
    if not found:
        raise InputError(f"{src or 'definition'} has no Kubernetes object")
    return found


def _content_of(path: str) -> bytes:
    """Return the content of a YAML or JSON file."""
    try:
        content = read_small(path, _MAXIMUM_SIZE)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", "The file is read on the host that runs the module"
        ) from None
    if len(content) > _MAXIMUM_SIZE:
        raise InputError(f"{path} has more than {_MAXIMUM_SIZE >> 20} MiB", "Split it into several files")
    reject_vault(content, path, "definition")
    return content


def _read(definition: Any, source: str) -> Iterator[Definition]:
    if isinstance(definition, (str, bytes)):
        documents = read_documents(definition, source)
        for number, document in enumerate(documents, 1):
            if len(documents) == 1:
                yield from _objects(document.value, source, "")
            else:
                name = f"document {number} of {source} (line {document.line})"
                yield from _objects(document.value, name, name)
    elif isinstance(definition, list):
        for number, item in enumerate(definition, 1):
            yield from _read(item, f"item {number} of {source}")
    else:
        yield from _objects(json_value(definition, source), source, "")


def _objects(value: Any, name: str, source: str) -> Iterator[Definition]:
    """Yield the objects in a value of JSON that is called ``name`` in messages."""
    if isinstance(value, str):
        raise InputError(f"{name} has text that is not a Kubernetes object", "Set src to use a file")
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _objects(item, f"item {number} of {name}", source)
    elif isinstance(value, dict):
        if str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
            yield from _objects(value["items"], name, source)
        else:
            _require_name(value, name)
            yield Definition(value, source)
    elif value is not None:
        raise InputError(f"{name} is not a Kubernetes object", "Write dictionaries or YAML")


def _require_name(item: Mapping[str, Any], source: str) -> None:
    """Require the fields of an object that are part of the paths of requests."""
    metadata = json_object(item.get("metadata"))
    kind, name, namespace = item.get("kind"), metadata.get("name"), metadata.get("namespace")
    known = " ".join(str(part) for part in (kind, name) if part) or "an object"
    if not all(part and isinstance(part, str) for part in (item.get("apiVersion"), kind, name)):
        raise InputError(
            f"{source} has {known} without apiVersion, kind or metadata.name",
            "Set all three, and quote a name that looks like a number or a boolean",
        )
    if namespace is not None and not isinstance(namespace, str):
        raise InputError(f"{source} has {known} with a metadata.namespace that is not text", "Quote it")
    for segment in (str(name), namespace or ""):
        # Kubernetes allows no dot segments, slashes and percent signs in names. The client library does not encode the
        # other characters: a question mark would end the path, which would then refer to another object.
        if segment in (".", "..") or not _NAME.fullmatch(segment):
            raise InputError(f"{source} has {known} with an invalid name: {segment}")


def display_name(item: Mapping[str, Any], namespace: str | None = None) -> str:
    """Return the name of an object in messages: ``Service k8scr/k8scr``."""
    metadata = item.get("metadata") or {}
    return object_name(item.get("kind"), metadata.get("name"), namespace or metadata.get("namespace"))


def object_name(kind: Any, name: Any, namespace: str | None) -> str:
    """Return the name of an object in messages, from its parts."""
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def without_server_fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without its status and the metadata that the API server sets."""
    kept = copy.deepcopy({key: value for key, value in item.items() if key != "status"})
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        for key in _SERVER_FIELDS:
            metadata.pop(key, None)
    return kept


def redact_secret(item: Mapping[str, Any], other: Mapping[str, Any] | None = None, side: str = "") -> dict[str, Any]:
    """Return a copy of an object with redacted values if it is a Secret.

    Args:
        other: The version to compare with.
        side: The suffix of redacted values that differ from the other version, so that a diff shows the difference.
    """
    result = copy.deepcopy(dict(item))
    if not _is_secret(result):
        return result
    for section in ("data", "stringData"):
        values = result.get(section)
        if not isinstance(values, dict):
            continue
        others = (other or {}).get(section) or {}
        for key, value in values.items():
            differs = other is not None and others.get(key) != value
            values[key] = f"{HIDDEN} ({side})" if differs and side else HIDDEN
    annotations = (result.get("metadata") or {}).get("annotations")
    if isinstance(annotations, dict) and _LAST_APPLIED in annotations:
        annotations[_LAST_APPLIED] = HIDDEN
    return result


def _is_secret(item: Mapping[str, Any]) -> bool:
    """Return whether an object is a Secret, also if its kind is misspelled in lower case."""
    return str(item.get("kind")).lower() == "secret"


def secret_values(item: Mapping[str, Any]) -> set[str]:
    """Return the values of a Secret, to redact them in messages of the API server."""
    if not _is_secret(item):
        return set()
    sections = (item.get(section) for section in ("data", "stringData"))
    return {str(value) for section in sections if isinstance(section, dict) for value in section.values() if value}


def redact_definition(definition: Any) -> Any:
    """Return the ``definition`` option with redacted Secrets; an invalid one is redacted as a whole."""
    try:
        return [redact_secret(item) for item in read_definitions(definition)]
    except InputError:
        return HIDDEN
