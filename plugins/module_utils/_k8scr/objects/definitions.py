# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes objects as users write them, and as they may be shown: no cluster is asked here."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..files.vault import refuse_vault
from ..redaction import HIDDEN

try:
    import yaml
except ImportError:  # a dependency of the kubernetes library, whose absence is reported
    pass

_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def read_definitions(definition: Any, source: str = "definition") -> list[dict[str, Any]]:
    """Read objects from what a user wrote.

    Args:
        definition: YAML text with one or many documents, a dictionary, or a list of either; lists of Kubernetes
            (``kind: List``) are taken apart.
        source: How messages name the place it comes from.

    Raises:
        InputError: It is not YAML, or holds something that is no Kubernetes object with a name.
    """
    if isinstance(definition, (str, bytes)):
        return _read_text(definition, source)
    if isinstance(definition, list):
        return [item for part in definition for item in read_definitions(part, source)]
    if definition is None:
        return []
    if not isinstance(definition, dict):
        raise InputError(f"{source} holds something that is no Kubernetes object", "Write dictionaries or YAML")
    kind = str(definition.get("kind", ""))
    if kind.endswith("List") and isinstance(definition.get("items"), list):
        return read_definitions(definition["items"], source)
    metadata = definition.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not definition.get("apiVersion") or not kind or not isinstance(name, str):
        known = " ".join(str(part) for part in (kind, name) if part) or "an object"
        raise InputError(f"{source} holds {known} without apiVersion, kind or metadata.name", "Give it all three")
    return [definition]


def read_file(path: str) -> list[dict[str, Any]]:
    """Read objects from a YAML or JSON file.

    Raises:
        InputError: The file cannot be read, or holds no objects.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", "The file is read on the host that runs the module"
        ) from None
    refuse_vault(content, path, "definition")
    return read_definitions(content, path)


def _read_text(text: str | bytes, source: str) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InputError(f"{source} is not YAML{where}") from None
    if any(isinstance(document, str) for document in documents):
        raise InputError(f"{source} holds text that is no Kubernetes object", "Give paths with src")
    return read_definitions(documents, source)


def describe(item: Mapping[str, Any], namespace: str | None = None) -> str:
    """How messages name an object: ``Service k8scr/k8scr``."""
    metadata = item.get("metadata") or {}
    namespace = namespace or metadata.get("namespace")
    name = metadata.get("name")
    return f"{item.get('kind')} {namespace}/{name}" if namespace else f"{item.get('kind')} {name}"


def essence(item: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of an object someone wants, without what the cluster keeps account of; to compare and to show."""
    if item is None:
        return {}
    kept = copy.deepcopy({key: value for key, value in item.items() if key != "status"})
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        for key in _BOOKKEEPING:
            metadata.pop(key, None)
    return kept


def shown(item: Mapping[str, Any], other: Mapping[str, Any] | None = None, side: str = "") -> dict[str, Any]:
    """An object as it may be shown: a Secret's values are hidden.

    Args:
        item: The object.
        other: Its other version, in a comparison.
        side: Is added to a hidden value that differs from the other version's, so that a diff shows that it does.
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
    """Return whether an object is a Secret, also one whose kind is misspelt in lower case."""
    return str(item.get("kind")).lower() == "secret"


def secret_values(item: Mapping[str, Any]) -> set[str]:
    """A Secret's values, to keep them out of other people's messages."""
    if not _is_secret(item):
        return set()
    sections = (item.get(section) for section in ("data", "stringData"))
    return {str(value) for section in sections if isinstance(section, dict) for value in section.values() if value}


def redacted_definition(definition: Any) -> Any:
    """Return the ``definition`` option as it may be shown; of one that cannot be read, nothing."""
    if definition is None:
        return None
    try:
        return [shown(item) for item in read_definitions(definition)]
    except InputError:
        return HIDDEN


def read_given(definition: Any, source: str | None) -> list[dict[str, Any]]:
    """Read the objects of the option ``definition``, or of the file that the option ``src`` names.

    Args:
        definition: The option ``definition``.
        source: The file's path, or None.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    found = read_file(source) if source else read_definitions(definition)
    if not found:
        raise InputError(f"{source or 'definition'} holds no Kubernetes object")
    return found
