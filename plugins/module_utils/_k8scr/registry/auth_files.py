# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials for registries from the files and programs of other container tools.

The files are those of ``docker login`` (config.json) and ``podman login`` (containers-auth.json(5)), the programs
those of the docker-credential-helpers protocol. Credentials are read when a registry requires them, and never shown.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.file_access import exists, read_small
from ..files.vault import reject_vault
from ..oci.json_object import json_object
from ..oci.reference import DOCKER_HUB, DOCKER_HUB_ALIASES

_DOCKER_HUB_SERVER = "https://index.docker.io/v1/"
"""Docker's name for Docker Hub in its configuration."""

_VARIABLE = "DOCKER_AUTH_CONFIG"
_HELPER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HELPER_TIMEOUT = 60.0
_NOT_FOUND = "credentials not found"
_TOKEN_USER = "<token>"  # noqa: S105 - the user name of identity tokens


@dataclass(frozen=True)
class Credentials:
    """Credentials for a registry or its token server.

    Attributes:
        password: The user's password or access token.
        identity_token: A refresh token for the token server, instead of user and password.
        registry_token: A bearer token for the registry, instead of the other credentials.
        origin: Their file, program or option, for messages.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    origin: str = ""


def find_credentials(host: str, repository: str, environment: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the user's credentials for a repository, or ``None``.

    ``DOCKER_AUTH_CONFIG``, which has the content of such a file, takes precedence. If ``REGISTRY_AUTH_FILE`` is set, no
    other file is read. Otherwise the first of these files with credentials for the registry is used:
    ``$XDG_RUNTIME_DIR/containers/auth.json``, ``$XDG_CONFIG_HOME/containers/auth.json``,
    ``$DOCKER_CONFIG/config.json`` (``~/.docker``).

    Args:
        host: The registry as in image references, such as ``docker.io`` or ``registry.example.com:5000``.
        repository: The repository; auth.json may have credentials for a part of a registry.
        environment: The environment variables; by default, those of the process.

    Raises:
        InputError: A file is damaged or cannot be read, or a credential helper fails.
    """
    variables = os.environ if environment is None else environment
    given = variables.get(_VARIABLE)
    if given:
        # As in Docker, only auths is read: a variable must not select programs to run.
        entry = _look_up(json_object(_parse(given, _VARIABLE).get("auths")), list(_keys(host, repository)))
        found = _read_entry(entry, _VARIABLE) if isinstance(entry, Mapping) else None
        if found:
            return found
    for path in _files(variables):
        found = _find(path, _read(path), host, repository)
        if found:
            return found
    return None


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    named = environment.get("REGISTRY_AUTH_FILE")
    if named:
        if not exists(named):
            raise InputError(f"REGISTRY_AUTH_FILE names {named}, which does not exist", "Correct or unset it")
        yield Path(named)
        return
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    runtime = environment.get("XDG_RUNTIME_DIR")
    yield Path(runtime or f"/run/containers/{os.getuid()}", *(("containers",) if runtime else ()), "auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json")
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_small(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(
            f"the credentials in {path} cannot be read: {error.strerror}", "Check its permissions"
        ) from None
    reject_vault(content, path)
    return _parse(content, str(path))


def _parse(content: bytes | str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        # Omit the cause, which shows a part of the text.
        raise InputError(f"the credentials in {where} cannot be read: not JSON", "Log in again") from None
    if not isinstance(value, dict):
        raise InputError(f"the credentials in {where} cannot be read: not a JSON object", "Log in again")
    return value


def _find(path: Path, value: Mapping[str, Any], host: str, repository: str) -> Credentials | None:
    keys = list(_keys(host, repository))
    helper = _look_up(json_object(value.get("credHelpers")), keys) or value.get("credsStore")
    if helper:
        for server in (_DOCKER_HUB_SERVER, DOCKER_HUB) if host == DOCKER_HUB else (host,):
            found = _ask_helper(str(helper), server, path)
            if found:
                return found
    entry = _look_up(json_object(value.get("auths")), keys)
    return _read_entry(entry, str(path)) if isinstance(entry, Mapping) else None


def _keys(host: str, repository: str) -> Iterator[str]:
    """Yield the keys of the credentials, the most specific first."""
    parts = [host, *repository.split("/")]
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])


def _look_up(entries: Mapping[str, Any], keys: list[str]) -> Any:
    names = {_plain(name): entry for name, entry in entries.items()}
    # A key without a scheme takes precedence over an equivalent key.
    names.update({name: entry for name, entry in entries.items() if "://" not in name})
    return next((names[key] for key in keys if key in names), None)


def _plain(name: str) -> str:
    """Return a key without the scheme and the path that some versions of Docker add to the host."""
    _scheme, found, rest = name.partition("://")
    host, slash, path = (rest if found else name).partition("/")
    if host in DOCKER_HUB_ALIASES:
        host = DOCKER_HUB
    return host if found else f"{host}{slash}{path}"


def _read_entry(entry: Mapping[str, Any], where: str) -> Credentials | None:
    texts = {key: text for key, text in entry.items() if isinstance(text, str)}
    username, password = texts.get("username", ""), texts.get("password", "")
    if texts.get("auth"):
        try:
            decoded = base64.b64decode(texts["auth"]).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InputError(f"the credentials in {where} cannot be read: auth is not base64", "Log in again") from None
        username, _colon, password = decoded.partition(":")
        password = password.strip("\0")
    found = Credentials(username, password, texts.get("identitytoken", ""), texts.get("registrytoken", ""), where)
    return found if username or found.identity_token or found.registry_token else None


# A helper may send requests, and returns the same credentials for all repositories of a registry.
@cache
def _ask_helper(name: str, server: str, path: Path) -> Credentials | None:
    program = f"docker-credential-{name}"
    if not _HELPER.fullmatch(name):
        raise InputError(f"{path} sets the credential helper {name!r:.100}, which is not a valid name", "Correct it")
    try:
        # Not the module's run_command, which is not available here and would log.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT, check=False
        )
    except OSError as error:
        raise InputError(
            f"the credential helper {program} of {path} cannot be run: {error.strerror}",
            f"Install it, or set the credentials for {server} in upstreams",
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{program} did not finish within {_HELPER_TIMEOUT:.0f} seconds", "Run it by hand to find out why"
        ) from None
    if done.returncode and _NOT_FOUND in done.stdout.decode(errors="replace"):
        return None
    try:
        value = {} if done.returncode else json.loads(done.stdout)
        username, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError):
        # Omit the helper's output, which may contain a secret.
        raise InputError(
            f"{program} returned no credentials for {server}", f"To find out why, run: echo {server} | {program} get"
        ) from None
    if username == _TOKEN_USER:
        return Credentials(identity_token=str(secret), origin=program)
    return Credentials(str(username), str(secret), origin=program)
