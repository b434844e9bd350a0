# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Garbage collection in a registry of the role ``registry`` with ``registry_delete``.

The client writes a random ID to the ConfigMap ``NAME-collect``. The script of the role finds it in a volume, runs the
collector of CNCF distribution, and reports in the header ``K8scr-Collection`` of every response of the write port:

- ``running``: the collector runs, and the port is read-only.
- ``ready``: no collection was requested yet.
- ``id=… status=done seconds=… before=… after=…``: the last collection; the sizes are missing for S3.
- ``id=… status=failed seconds=… error=…``: the last collection failed; the error extends to the end of the header.
- ``id=… status=skipped``: the request existed before the Pod was created.
- ``reader``: the port is read-only.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ApiServerError, InputError, K8scrError, RegistryError
from ..oci.decimal import parse_decimal
from .error_responses import COLLECTION_HEADER, COLLECTION_RUNNING
from .write_path import stateful_set_of

if TYPE_CHECKING:
    from .cluster import ClusterRegistry, PodSettings

_READER = "reader"
_INTERVAL = 2.0
"""Seconds between two requests for the state of a collection."""
_WORD = re.compile(r"([a-z]+)=(\S*)")
_LONGEST_ERROR = 300
_SYNC = "The kubelet passes on a request at its next sync of the Pod, after up to 90 seconds by default"


@dataclass(frozen=True)
class Collection:
    """A finished garbage collection.

    Attributes:
        seconds: The seconds for which the registry did not accept pushes.
        before: The bytes of all blobs before the collection; None if the storage does not report them.
        after: The bytes of all blobs after it.
    """

    seconds: int
    before: int | None
    after: int | None


class Collector:
    """Runs the garbage collector of the cluster's registry.

    Args:
        registry: The client of the registry's write port, as a user that may patch the ConfigMap ``NAME-collect``.
        pod: The registry's Pod.
    """

    def __init__(self, registry: ClusterRegistry, pod: PodSettings) -> None:
        self._registry = registry
        self._namespace = pod.namespace
        self._config_map = f"{stateful_set_of(pod.name)}-collect"
        self._description = f"the ConfigMap {self._config_map} in namespace {pod.namespace}"

    def require(self) -> None:
        """Return if the registry can collect garbage.

        Raises:
            InputError: It has no collector, or the port is read-only.
            K8scrError: The registry cannot be reached.
        """
        state = self._state()
        if not state:
            raise InputError(
                f"{self._registry.description} cannot collect garbage: it does not run the collector of the role "
                "registry",
                "Run the role registry with registry_delete: true and registry_kind: StatefulSet, or set collect to "
                "false",
            )
        if state == _READER:
            raise InputError(
                f"{self._registry.description} cannot collect garbage through this port, which is read-only",
                "Set registry_port to its write port, 5000 by default, and registry to its first Pod",
            )

    def collect(self, timeout: float) -> Collection:
        """Run a garbage collection, and wait until the registry accepts pushes again.

        If the registry runs another client's collection, a new one follows it: the other may have begun earlier.

        Args:
            timeout: Seconds to wait for the end of the collection, including the wait for its start.

        Raises:
            RegistryError: The collector failed, or did not finish in time.
            ApiServerError: The user may not request a collection.
            K8scrError: The registry cannot be reached.
        """
        deadline = time.monotonic() + timeout
        known = _words(self._state()).get("id")
        # The script may have read a request that a later one replaced in the ConfigMap.
        requests, running = {self._request()}, False
        while True:
            state = self._state_before(deadline)
            words = _words(state)
            finished, status = words.get("id"), words.get("status")
            if finished in requests and status == "done":
                return Collection(
                    parse_decimal(words.get("seconds", "")) or 0,
                    parse_decimal(words.get("before", "")),
                    parse_decimal(words.get("after", "")),
                )
            if finished in requests and status == "failed":
                raise RegistryError(
                    f"garbage collection failed: {self._registry.description} reports: "
                    f"{words.get('error') or 'no reason'}",
                    "Check the log of its container registry; the images are unchanged or partly collected, and the "
                    "registry accepts pushes",
                )
            running = running or state == COLLECTION_RUNNING
            if time.monotonic() >= deadline:
                raise self._late(timeout, running)
            if finished not in (None, known):
                # Another request replaced this one in the ConfigMap, or the Pod was replaced and skipped it.
                known = finished
                requests.add(self._request())
            self._registry.retries.sleep(_INTERVAL)

    def _late(self, timeout: float, running: bool) -> RegistryError:
        what = "finish" if running else "begin"
        advice = "The collection continues in the registry; wait longer" if running else f"{_SYNC}; wait longer"
        return RegistryError(
            f"{self._registry.description} did not {what} the garbage collection within {timeout:g} s",
            f"{advice} (collect_timeout), or check the log of its container registry",
        )

    def _state_before(self, deadline: float) -> str:
        """Return the header's value; empty while the registry cannot be reached, for example during a restart.

        Raises:
            K8scrError: The registry cannot be reached until the deadline, or a retry does not help.
        """
        try:
            return self._state()
        except K8scrError as error:
            if error.retry is None or time.monotonic() >= deadline:
                raise
            return ""

    def _state(self) -> str:
        failure = "the state of its garbage collection cannot be read"
        response = self._registry.request_with_retries("GET", "/v2/", failure, (200,))
        return response.headers.get(COLLECTION_HEADER, "").strip()

    def _request(self) -> str:
        """Write a new request to the ConfigMap and return its ID."""
        request = secrets.token_hex(16)
        action = f"request a garbage collection in {self._description}"
        self._registry.retries.run(action, lambda: self._patch(request))
        return request

    def _patch(self, request: str) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/{self._config_map}?fieldManager=k8scr-prune"
        try:
            self._registry.api_server.write_object("PATCH", path, self._description, {"data": {"request": request}})
        except ApiServerError as error:
            advice = {
                403: f"Allow patch on {self._description}, as in the Role for pruning of the role registry",
                404: "Run the role registry with registry_delete: true",
            }
            raise error.replace(advice=advice.get(error.status)) from error


def _words(state: str) -> Mapping[str, str]:
    """Return the values in a header's value by their names."""
    start, _separator, error = state.partition(" error=")
    words = dict(_WORD.findall(start))
    return {**words, "error": error[:_LONGEST_ERROR]} if error else words
