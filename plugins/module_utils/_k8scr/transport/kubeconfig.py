# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubeconfigs: find the files, read them, and select a context."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ClusterError, InputError
from ..files.file_access import is_file, read_small
from ..files.vault import reject_vault
from ..files.yaml_text import read_documents
from ..redaction import HIDDEN
from .kubeconfig_secrets import is_content, output_secrets_of, redacted_kubeconfig, secrets_of

_TEXT = "the kubeconfig given as text"
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Fields of a cluster or a user that are paths, relative to the folder of the kubeconfig."""


@dataclass(frozen=True)
class Context:
    """A context with its cluster and its user."""

    name: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Kubeconfig:
    """One or several kubeconfig files, or the content of a kubeconfig as a dictionary or as text.

    Attributes:
        name: Its name in messages.
        path: The existing files, joined as in ``KUBECONFIG``; None for a dictionary, text or a pipe.
        documents: Their contents, in order of precedence.
    """

    name: str
    path: str | None
    documents: tuple[dict[str, Any], ...] = field(repr=False)

    @classmethod
    def find(cls, given: Any) -> Kubeconfig | None:
        """Read a kubeconfig.

        Args:
            given: The ``kubeconfig`` option: paths, a dictionary, the text of a kubeconfig, or None for ``KUBECONFIG``
                and ``~/.kube/config``.

        Returns:
            None if ``given`` and ``KUBECONFIG`` are unset and ``~/.kube/config`` does not exist.

        Raises:
            ClusterError: The kubeconfig is missing or invalid.
            InputError: A file is encrypted by Ansible Vault.
        """
        if isinstance(given, str) and is_content(given):
            content = _parsed(given, _TEXT)
            if not content:
                raise ClusterError(f"{_TEXT} is empty")
            return cls(_TEXT, None, (content,))
        if isinstance(given, dict):
            return cls("the kubeconfig given as a dictionary", None, (given,))
        if given is not None and not isinstance(given, (str, os.PathLike)):
            raise ClusterError("kubeconfig is neither a string nor a dictionary")
        from_environment = os.environ.get("KUBECONFIG")
        named = os.fspath(given) if given is not None else from_environment
        paths = [os.path.expanduser(path) for path in (named or "~/.kube/config").split(os.pathsep) if path]
        existing = [path for path in paths if os.path.exists(path)]
        if not existing:
            if not named:
                return None
            source = "" if given is not None else " in KUBECONFIG"
            raise ClusterError(
                f"the kubeconfig {redacted_kubeconfig(named)}{source} does not exist",
                "Check the path on the host that runs the module: the target of the task",
            )
        contents = [(path, _with_full_paths(_read(path), path)) for path in existing]
        filled = [(path, content) for path, content in contents if content]
        if not filled:
            raise ClusterError(f"the kubeconfig {named} is empty")
        joined = os.pathsep.join(path for path, _content in filled)
        # A pipe cannot be read again.
        path = joined if all(is_file(path) for path, _content in filled) else None
        return cls(f"the kubeconfig {joined}", path, tuple(content for _path, content in filled))

    def choose(self, name: str | None) -> Context:
        """Return a context; without a name the current one of the first file that sets it, as in kubectl.

        Raises:
            ClusterError: The context, its cluster or its user is missing.
        """
        if name is None:
            name = next((item["current-context"] for item in self.documents if item.get("current-context")), None)
        known = [str(item.get("name")) for item in self._entries("contexts")]
        advice = "Set context to one of " + ", ".join(known[:10]) if known else "It has no contexts"
        if not name:
            raise ClusterError(f"{self.name} sets no current context", advice)
        context = self._entry("contexts", name, "context")
        if context is None:
            raise ClusterError(f"{self.name} has no context {name}", advice)
        cluster = self._entry("clusters", context.get("cluster"), "cluster")
        if cluster is None or not cluster.get("server"):
            raise ClusterError(f"the cluster of the context {name} in {self.name} is missing or has no server")
        user = None
        if context.get("user"):
            user = self._entry("users", context["user"], "user")
            if user is None:
                raise ClusterError(f"the user of the context {name} in {self.name} is missing")
        return Context(name, cluster, user or {})

    def redact(self, text: str) -> str:
        """Return a text without the secrets of this kubeconfig."""
        for secret in sorted(secrets_of(list(self.documents)), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def redact_output(self, text: str) -> str:
        """Return the output of a credential plugin without the secrets of this kubeconfig."""
        for secret in sorted(output_secrets_of(list(self.documents)), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def _entries(self, section: str) -> list[dict[str, Any]]:
        sections = (item.get(section) for item in self.documents)
        listed = [entry for entries in sections if isinstance(entries, list) for entry in entries]
        return [entry for entry in listed if isinstance(entry, dict)]

    def _entry(self, section: str, name: Any, key: str) -> Mapping[str, Any] | None:
        for entry in self._entries(section):
            if entry.get("name") == name:
                found = entry.get(key)
                return found if isinstance(found, dict) else {}
        return None


def _read(path: str) -> dict[str, Any]:
    try:
        content = read_small(path)
    except OSError as error:
        raise ClusterError(f"the kubeconfig {path} cannot be read: {error.strerror}") from None
    reject_vault(content, path, "kubeconfig")
    return _parsed(content, f"the kubeconfig {path}")


def _parsed(content: bytes | str, name: str) -> dict[str, Any]:
    try:
        documents = read_documents(content, name)
    except InputError as error:
        raise ClusterError(error.message, error.advice) from None
    value = documents[0].value if documents else None
    if value is not None and not isinstance(value, dict):
        raise ClusterError(f"{name} is not a kubeconfig")
    return value or {}


def _with_full_paths(content: dict[str, Any], path: str) -> dict[str, Any]:
    folder = Path(path).absolute().parent
    for section, key in (("clusters", "cluster"), ("users", "user")):
        entries = content.get(section)
        for entry in entries if isinstance(entries, list) else ():
            found = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(found, dict):
                found.update({name: str(folder / str(found[name])) for name in _PATHS if found.get(name)})
                plugin = found.get("exec")
                if isinstance(plugin, dict) and "/" in str(plugin.get("command")):
                    plugin["command"] = str(folder / str(plugin["command"]))
    return content
