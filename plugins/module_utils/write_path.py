# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secret path below which a registry of the role ``registry`` accepts writes.

Every Pod of a cluster reaches the registry's write port, unless the cluster's network enforces a policy. The API
server does not pass a client's ``Authorization`` header on, so the registry cannot ask for a password. Instead, it
serves below a path that nobody can guess. The path is in a Secret that users with the right to push may read.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from typing import TYPE_CHECKING

from .errors import ApiServerError, RegistryError
from .transport.api_server import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from .transport.api_server import ApiServerAdapter

try:
    import requests
except ImportError:
    # The module reports what is missing.
    pass

_POD_OF_STATEFUL_SET = re.compile(r"(.+)-[0-9]+")
_KEY = "path"
_PATH = re.compile(r"(/[A-Za-z0-9]{16,128})/")
_ANSWER_TIMEOUT = 60.0
"""Seconds that the API server may take to return the Secret."""


class WritePath:
    """The base path of the registry in a Pod; see :class:`..transport.base_path.BasePath`.

    The role ``registry`` keeps it in the Secret ``NAME-write``, where the StatefulSet is called ``NAME``. Other
    registries have no such Secret and serve at their root. The Secret is read at the first request and not before.

    Args:
        api_server: The connection to the API server.
        namespace: The Pod's namespace.
        pod: The Pod's name.
        writes: Whether the caller writes. A caller that only reads uses the read-only port, which serves at its root:
            it reads the Secret only where the Pod does not serve the requested path.
    """

    def __init__(self, api_server: ApiServerAdapter, namespace: str, pod: str, writes: bool) -> None:
        self._api_server = api_server
        self._namespace = namespace
        self._pod = pod
        stateful_set = _POD_OF_STATEFUL_SET.fullmatch(pod)
        self._secret = f"{stateful_set[1]}-write" if stateful_set else ""
        self._lock = threading.Lock()
        self._known = not (writes and self._secret)
        self._path = ""
        self._forbidden = ""

    def current(self) -> str:
        """See :meth:`BasePath.current`.

        Raises:
            ClusterError: The API server cannot be reached.
            ApiServerError: The API server cannot return the Secret for a reason that a retry may remove.
        """
        with self._lock:
            if not self._known:
                self._look_up()
            return self._path

    def missed(self, used: str) -> bool:
        """See :meth:`BasePath.missed`.

        Raises:
            ClusterError: The API server cannot be reached.
            ApiServerError: The user may not read the Secret, or the API server cannot return it.
            RegistryError: The registry was not restarted since the path changed.
        """
        with self._lock:
            if self._path == used and self._secret:
                self._look_up()
                if self._forbidden:
                    raise ApiServerError(
                        "the registry serves only below its write path at this port, and the API server forbids "
                        f"reading that path: {self._forbidden:.500}",
                        "To pull, use the registry's read-only port (registry_port, 5001 unless the role was told "
                        f"otherwise); to push, allow get on the Secret {self._secret} in namespace {self._namespace}",
                        403,
                    )
                if used and self._path == used:
                    raise RegistryError(
                        f"the registry in Pod {self._namespace}/{self._pod} does not serve below its write path at "
                        "this port",
                        "Use its write port (registry_port, 5000 unless the role was told otherwise); if the path was "
                        "changed, run the role registry again, which restarts the registry",
                        503,
                    )
            return self._path != used

    def _look_up(self) -> None:
        address = f"{self._api_server.base_url}/api/v1/namespaces/{self._namespace}/secrets/{self._secret}"
        question = requests.Request("GET", address).prepare()
        with self._api_server.send(question, timeout=(CONNECT_TIMEOUT, _ANSWER_TIMEOUT)) as response:
            code, value = response.status_code, _parsed(response)
        said = str(value.get("message") or response.reason or code)
        if code not in (200, 403, 404):
            raise ApiServerError(
                f"the API server does not return the Secret {self._secret} in namespace {self._namespace}: {said:.500}",
                "Log in again or renew the token" if code == 401 else None,
                code,
            )
        self._known = True
        self._path, self._forbidden = _path_in(value) if code == 200 else "", said if code == 403 else ""


def _parsed(response: requests.Response) -> dict[str, object]:
    try:
        value = response.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _path_in(secret: dict[str, object]) -> str:
    """Return the path that a Secret holds; empty where it is another kind of Secret."""
    data = secret.get("data")
    try:
        value = base64.b64decode(str(data.get(_KEY, "")) if isinstance(data, dict) else "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    path = _PATH.fullmatch(value)
    return path[1] if path else ""
