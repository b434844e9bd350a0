# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base paths of a registry's ports, including the secret write path of the role ``registry``.

Every Pod of a cluster can reach the registry's write port, unless the cluster's network enforces a policy. The API
server does not pass on the ``Authorization`` header, so the registry cannot require a password. Instead, it serves
below a path that cannot be guessed. The path is in a Secret; users with the permission to push may read it.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ApiServerError, WrongPathError

if TYPE_CHECKING:
    from ..transport.api_server import ApiServerAdapter

_POD_OF_STATEFUL_SET = re.compile(r"(.+)-[0-9]+")
_KEY = "path"
_PATH = re.compile(r"(/[A-Za-z0-9]{16,128})/")
_READ_ONLY_PORT = "use the registry's read-only port (registry_port, 5001 by default)"


def stateful_set_of(pod: str) -> str:
    """Return the name of the StatefulSet that a Pod belongs to; empty if the name of the Pod has no ordinal."""
    match = _POD_OF_STATEFUL_SET.fullmatch(pod)
    return match[1] if match else ""


class WritePath:
    """The base path of the registry in a Pod; see :class:`..transport.pod_proxy.BasePath`.

    The role ``registry`` stores it in the Secret ``NAME-write``, where ``NAME`` is the StatefulSet's name. Other
    registries have no such Secret and serve at their root. The Secret is read when the first request is sent; it is an
    error if the API server does not return it or if it contains no valid path.

    Args:
        api_server: The adapter of the API server, as a user that may read the Secret.
        namespace: The Pod's namespace.
        pod: The Pod's name, such as ``k8scr-0``.
        ahead: Whether to read the Secret before the first request; if not, only if the Pod does not serve at its root.
    """

    def __init__(self, api_server: ApiServerAdapter, namespace: str, pod: str, ahead: bool = True) -> None:
        self._api_server = api_server
        self._namespace = namespace
        self._pod = pod
        name = stateful_set_of(pod)
        self._secret = f"{name}-write" if name else ""
        self._description = f"the Secret {self._secret} in namespace {namespace}"
        self._lock = threading.Lock()
        self._known = not (ahead and self._secret)
        self._path = ""
        self._forbidden = ""

    def current(self) -> str:
        with self._lock:
            if not self._known:
                self._look_up()
            return self._path

    def missed(self, used: str) -> bool:
        """Read the path again.

        Raises:
            ApiServerError: The user may not read the Secret.
            WrongPathError: The port is not the write port, or the registry was not restarted since the path changed.
        """
        with self._lock:
            if self._path == used and self._secret:
                self._look_up()
                if self._forbidden:
                    raise ApiServerError(
                        f"the registry serves only below its write path at this port, and {self._forbidden}",
                        f"To pull, {_READ_ONLY_PORT}; to push, allow get on {self._description}",
                        403,
                    )
                if used and self._path == used:
                    raise WrongPathError(
                        f"the registry in Pod {self._namespace}/{self._pod} does not serve below its write path at "
                        "this port",
                        "Use its write port (registry_port, 5000 by default); if the path was changed, run the role "
                        "registry again, which restarts the registry",
                        503,
                    )
            return self._path != used

    def _look_up(self) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{self._secret}"
        secret, self._forbidden = None, ""
        try:
            secret = self._api_server.read_object(path, self._description)
        except ApiServerError as error:
            if error.status != 403:
                raise
            self._forbidden = error.message
        self._path = self._path_in(secret or {})
        self._known = True

    def _path_in(self, secret: dict[str, object]) -> str:
        """Return the path in a Secret; empty if the Secret has another purpose."""
        data = secret.get("data")
        if not isinstance(data, dict) or _KEY not in data:
            return ""
        try:
            path = _PATH.fullmatch(base64.b64decode(str(data[_KEY]), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            path = None
        if path is None:
            # With such a path, the registry may accept writes from every Pod.
            raise ApiServerError(
                f"{self._description} contains no valid write path",
                "Run the role registry with registry_rotate_write_path, which creates a new one",
            )
        return path[1]


@dataclass(frozen=True)
class ReadOnlyPort:
    """The base path of the port for pulls of a Pod, which is its root; see :class:`..transport.pod_proxy.BasePath`."""

    pod: str

    def current(self) -> str:
        return ""

    def missed(self, used: str) -> bool:
        """Raise the error, because the port has no other path."""
        raise WrongPathError(
            f"Pod {self.pod} does not serve a registry at the root of this port", f"To pull, {_READ_ONLY_PORT}", 404
        )
