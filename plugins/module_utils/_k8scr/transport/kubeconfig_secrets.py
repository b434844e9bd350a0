# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redact the option ``kubeconfig``: find its secrets, and hide its content, but not paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InputError
from ..files.yaml_text import read_documents
from ..redaction import HIDDEN, texts_of
from .impersonation import USER_FIELDS

_PUBLIC_OF_USER = ("client-certificate", "client-certificate-data", "client-key", "tokenFile", "username")
_PUBLIC_OF_PLUGIN = ("apiVersion", "command", "installHint", "interactiveMode", "name", "provideClusterInfo")
_PUBLIC = frozenset((*_PUBLIC_OF_USER, *_PUBLIC_OF_PLUGIN, *USER_FIELDS))
"""Keys of a user, its exec plugin or its login provider that hold no secret."""
_LOW_ENTROPY = frozenset(("args", "env"))
"""Keys of an exec plugin. Most of their values are ordinary words, which also occur in results."""
_LONGEST_PATH = 255
_SHORTEST_MASKED = 8
"""Characters of the shortest secret that is masked in results: shorter ones may be part of names or numbers."""


def is_content(kubeconfig: str) -> bool:
    """Return whether the option ``kubeconfig`` holds a kubeconfig's text instead of paths."""
    if "\n" in kubeconfig or kubeconfig.lstrip().startswith("{"):
        return True
    return ": " in kubeconfig and not os.path.exists(kubeconfig)


def _parse(text: str) -> Any:
    try:
        return [document.value for document in read_documents(text, "kubeconfig")]
    except InputError:
        return None


def redacted_kubeconfig(kubeconfig: Any) -> Any:
    """Return the printable value of the option ``kubeconfig``: paths are shown, content is hidden."""
    if not isinstance(kubeconfig, (str, os.PathLike)):
        return HIDDEN
    given = os.fspath(kubeconfig)
    # A longer value is probably encoded content, such as base64, which is a single line too.
    too_long = any(len(path) > _LONGEST_PATH for path in given.split(os.pathsep))
    return HIDDEN if too_long or is_content(given) else given


def secrets_of(kubeconfig: Any) -> set[str]:
    """Return tokens, passwords and private keys, and the arguments and environment variables of exec plugins.

    Args:
        kubeconfig: The ``kubeconfig`` option, or a list of kubeconfigs; a path has no secrets.
    """
    return set(_secrets(kubeconfig, frozenset()))


def masked_secrets_of(kubeconfig: Any) -> set[str]:
    """Return the secrets that can be masked in results without changing other values."""
    return {text for text in _secrets(kubeconfig, _LOW_ENTROPY) if len(text) >= _SHORTEST_MASKED}


def output_secrets_of(kubeconfig: Any) -> set[str]:
    """Return the secrets to hide in the output of a plugin, but not the addresses where users log in."""
    secrets = secrets_of(kubeconfig)
    return {text for text in secrets if len(text) >= _SHORTEST_MASKED and not text.startswith(("http://", "https://"))}


def _secrets(kubeconfig: Any, skipped: frozenset[str]) -> Iterator[str]:
    if isinstance(kubeconfig, str) and is_content(kubeconfig):
        kubeconfig = _parse(kubeconfig)
    for document in kubeconfig if isinstance(kubeconfig, list) else [kubeconfig]:
        users = document.get("users") if isinstance(document, Mapping) else None
        for entry in users if isinstance(users, list) else ():
            user = entry.get("user") if isinstance(entry, Mapping) else None
            yield from (text for text in _private_texts(user, skipped) if text.strip())


def _private_texts(value: Any, skipped: frozenset[str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _PUBLIC and key not in skipped:
                yield from _private_texts(item, skipped)
    elif isinstance(value, list):
        for item in value:
            yield from _private_texts(item, skipped)
    else:
        yield from texts_of(value)
