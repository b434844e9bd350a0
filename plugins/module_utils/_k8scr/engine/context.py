# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the engine's endpoint by Docker's options, environment variables and contexts (docker(1), "docker context")."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.file_access import exists, is_file, is_folder, read_small
from .settings import DockerSettings

DEFAULT_HOST = "unix:///var/run/docker.sock"
_MAXIMUM_SIZE = 1 << 20
"""Bytes of the largest configuration file."""


@dataclass(frozen=True)
class EngineTls:
    """The PEM files for TLS with an engine: without ``ca``, the system's certificate authorities are trusted."""

    ca: Path | None
    cert: Path | None
    key: Path | None
    verify: bool = True


@dataclass(frozen=True)
class EngineEndpoint:
    """The endpoint of an engine.

    Attributes:
        host: ``unix:///SOCKET``, ``tcp://HOST:PORT`` or ``ssh://[USER@]HOST[:PORT][/SOCKET]``.
        tls: The TLS files for ``tcp``; ``None`` for plain HTTP.
    """

    host: str
    tls: EngineTls | None = None


def find_endpoint(settings: DockerSettings, environment: Mapping[str, str]) -> EngineEndpoint:
    """Return the endpoint of the engine: from options, environment variables, the current context, or the local engine.

    The variables are DOCKER_HOST, DOCKER_CONTEXT, DOCKER_CERT_PATH, DOCKER_TLS_VERIFY and DOCKER_CONFIG.

    Raises:
        InputError: The options contradict each other, or the context is missing or damaged.
    """
    host, context = settings.host, settings.context
    if host and context:
        raise InputError("docker_host and docker_context are mutually exclusive", "Set one of them")
    folder = Path(environment.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))
    if not host and not context:
        host = environment.get("DOCKER_HOST")
        context = None if host else environment.get("DOCKER_CONTEXT") or _current_context(folder)
    if context and context != "default":
        return _read_context(folder / "contexts", context)
    host = host or environment.get("DOCKER_HOST") or DEFAULT_HOST
    certificates = settings.cert_path or environment.get("DOCKER_CERT_PATH")
    if not certificates and environment.get("DOCKER_TLS_VERIFY"):
        certificates = str(folder)
    return EngineEndpoint(host, _tls_files(Path(os.path.expanduser(certificates))) if certificates else None)


def _current_context(folder: Path) -> str | None:
    path = folder / "config.json"
    if not is_file(path):
        return None
    context = _read_json(path).get("currentContext")
    return context if isinstance(context, str) else None


def _read_context(store: Path, name: str) -> EngineEndpoint:
    # Docker names a context's folder by the digest of the context's name.
    folder = hashlib.sha256(name.encode()).hexdigest()
    path = store / "meta" / folder / "meta.json"
    if not is_file(path):
        known = ", ".join(sorted(_context_names(store))) or "none"
        raise InputError(f"Docker context {name!r:.80} does not exist in {store}", f"Existing contexts: {known:.500}")
    try:
        endpoint = _read_json(path)["Endpoints"]["docker"]
        host, verify = endpoint["Host"], not endpoint.get("SkipTLSVerify")
    except (KeyError, TypeError, AttributeError):
        host = None
    if not isinstance(host, str) or not host:
        raise InputError(f"Docker context {name} has no Docker endpoint", f"Check {path}")
    tls = store / "tls" / folder / "docker"
    return EngineEndpoint(host, _tls_files(tls, verify) if is_folder(tls) else None)


def _context_names(store: Path) -> list[str]:
    names = []
    for path in store.glob("meta/*/meta.json"):
        with suppress(InputError):
            names.append(str(_read_json(path).get("Name")))
    return names


def _tls_files(folder: Path, verify: bool = True) -> EngineTls:
    if not is_folder(folder):
        raise InputError(f"the folder {folder} for the engine's TLS files does not exist", "Check docker_cert_path")
    paths = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
    ca, cert, key = (path if exists(path) else None for path in paths)
    return EngineTls(ca, cert, key, verify)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_small(path, _MAXIMUM_SIZE))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object")
    return value
