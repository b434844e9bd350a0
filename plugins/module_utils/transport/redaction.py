# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets in the options of modules: which values are secrets, and the options without them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

try:
    import yaml
except ImportError:  # a dependency of the kubernetes library, whose absence is reported
    pass

HIDDEN = "********"
_KUBECONFIG_SECRETS = frozenset(
    ("token", "password", "client-key-data", "access-token", "id-token", "refresh-token", "client-secret")
)
_PLUGIN_SECRETS = frozenset(("args", "env"))
"""Of a credential plugin: users write tokens into its arguments and environment variables."""
_LONGEST_SHOWN_PATH = 1024


def is_kubeconfig_text(value: object) -> bool:
    """Return whether a ``kubeconfig`` option is the text of a kubeconfig, as the lookup ``file`` returns it."""
    if not isinstance(value, str) or os.path.exists(value[:_LONGEST_SHOWN_PATH]):
        return False
    return "\n" in value or ": " in value or value.lstrip().startswith("{")


def secrets_of(kubeconfig: Any) -> set[str]:
    """Return the secrets of a kubeconfig.

    Args:
        kubeconfig: The ``kubeconfig`` option, or the contents of kubeconfig files; a path has no secrets.

    Returns:
        Tokens, passwords and private keys, and the arguments and environment variables of credential plugins.
    """
    return credentials_of(kubeconfig) | _values_of(kubeconfig, _PLUGIN_SECRETS)


def credentials_of(kubeconfig: Any) -> set[str]:
    """Return the tokens, passwords and private keys of a kubeconfig; see :func:`secrets_of`."""
    return _values_of(kubeconfig, _KUBECONFIG_SECRETS)


def redacted_kubeconfig(kubeconfig: Any) -> Any:
    """Return the ``kubeconfig`` option without its secrets; of a text nothing is left."""
    if isinstance(kubeconfig, str):
        # A longer text is no path that anybody typed: it may be a kubeconfig in base64.
        return HIDDEN if is_kubeconfig_text(kubeconfig) or len(kubeconfig) > _LONGEST_SHOWN_PATH else kubeconfig
    return redacted(kubeconfig, _KUBECONFIG_SECRETS | _PLUGIN_SECRETS)


def redacted(value: Any, names: Collection[str]) -> Any:
    """Return a copy of a structure with everything hidden that stands under one of the names."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if key in names and item not in (None, "", [], {}) else redacted(item, names)
            for key, item in value.items()
        }
    return [redacted(item, names) for item in value] if isinstance(value, list) else value


def _values_of(kubeconfig: Any, names: Collection[str]) -> set[str]:
    if is_kubeconfig_text(kubeconfig):
        try:
            kubeconfig = yaml.safe_load(kubeconfig)
        except (yaml.YAMLError, ValueError):
            return set()
    return {value for value in _found(kubeconfig, names) if value.strip()}


def _found(value: Any, names: Collection[str]) -> set[str]:
    if isinstance(value, list):
        return {text for item in value for text in _found(item, names)}
    if not isinstance(value, Mapping):
        return set()
    return {text for key, item in value.items() for text in (_scalars(item) if key in names else _found(item, names))}


def _scalars(value: Any) -> set[str]:
    """Return everything in a value that is text or a number, as text; but for the names of environment variables."""
    if isinstance(value, list):
        return {text for item in value for text in _scalars(item)}
    if isinstance(value, Mapping):
        return {text for key, item in value.items() if key != "name" for text in _scalars(item)}
    return {str(value)} if isinstance(value, (str, int, float)) and not isinstance(value, bool) else set()
