# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions of Kubernetes objects: parse them, and redact Secrets in results."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..files.vault import reject_vault
from ..redaction import HIDDEN

try:
    import yaml
except ImportError:  # A dependency of the kubernetes library, which the modules check.
    pass

_SERVER_FIELDS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def read_definitions(definition: Any, source: str = "definition") -> list[dict[str, Any]]:
    """Return the objects in a definition.

    Args:
        definition: YAML text with one or more documents, a dictionary, or a list of either. A Kubernetes list
            (``kind: List``) is replaced by its items.
        source: The name of the option or file in messages.

    Raises:
        InputError: The definition is not YAML, or has an item that is not a Kubernetes object with a name.
    """
    if isinstance(definition, (str, bytes)):
        return _read_text(definition, source)
    if isinstance(definition, list):
        return [item for part in definition for item in read_definitions(part, source)]
    if definition is None:
        return []
    if not isinstance(definition, dict):
        raise InputError(f"{source} has an item that is not a Kubernetes object", "Write dictionaries or YAML")
    kind = str(definition.get("kind", ""))
    if kind.endswith("List") and isinstance(definition.get("items"), list):
        return read_definitions(definition["items"], source)
    metadata = definition.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not definition.get("apiVersion") or not kind or not isinstance(name, str):
        known = " ".join(str(part) for part in (kind, name) if part) or "an object"
        raise InputError(f"{source} has {known} without apiVersion, kind or metadata.name", "Set all three")
    return [definition]


def read_file(path: str) -> list[dict[str, Any]]:
    """Return the objects in a YAML or JSON file.

    Raises:
        InputError: The file cannot be read, or is not valid.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", "The file is read on the host that runs the module"
        ) from None
    reject_vault(content, path, "definition")
    return read_definitions(content, path)


def _read_text(text: str | bytes, source: str) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise InputError(f"{source} is not YAML{line}") from None
    if any(isinstance(document, str) for document in documents):
        raise InputError(f"{source} has text that is not a Kubernetes object", "Set src to use a file")
    return read_definitions(documents, source)


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


def read_options(definition: Any, src: str | None) -> list[dict[str, Any]]:
    """Return the objects in the options ``definition`` or ``src``, the path of a file.

    Raises:
        InputError: The options have no objects, or cannot be read.
    """
    objects = read_file(src) if src else read_definitions(definition)
    if not objects:
        raise InputError(f"{src or 'definition'} has no Kubernetes object")
    return objects
