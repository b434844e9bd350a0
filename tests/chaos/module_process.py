# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module in a child process that can be paused between steps and killed.

The processes are forked from a server with all imports, so that they start without delay.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import kubernetes.client
import kubernetes.config
import requests
from ansible.module_utils.testing import patch_module_args
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload import RequestBody
from ansible_collections.k8scr.core.plugins.modules import k8scr_prune, k8scr_pull, k8scr_push

_Block = TypeVar("_Block", bound=Sized)
MODULES = {"push": k8scr_push, "pull": k8scr_pull, "prune": k8scr_prune}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, kubernetes.client.__name__, kubernetes.config.__name__])
MAX_SECONDS = 300.0
"""Seconds after which the module counts as hung."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of blobs that a run transferred.

    Attributes:
        sent: Bytes that were sent.
        received: Bytes that were received.
        interrupted: Bytes of both in requests that did not complete.
        failures: Number of requests with an error or without a response.
    """

    sent: int = 0
    received: int = 0
    interrupted: int = 0
    failures: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.sent + other.sent,
            self.received + other.received,
            self.interrupted + other.interrupted,
            self.failures + other.failures,
        )


class Run:
    """A run of a module.

    Args:
        folder: Folder for the output.
        action: "push", "pull" or "prune".
        options: The module's options.
        pauses: Steps before which the module pauses, counted from 1.
        environment: Environment variables.
    """

    def __init__(
        self,
        folder: Path,
        action: str,
        options: Mapping[str, Any],
        pauses: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._connection, child_connection = CONTEXT.Pipe()
        arguments = (child_connection, folder, action, dict(options), frozenset(pauses), dict(environment or {}))
        self._process = CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        child_connection.close()
        self.pid = self._process.pid or 0
        self.killed = False
        self.hung = False

    def wait(self, on_pause: Callable[[int], None] = lambda _step: None) -> None:
        """Wait for the end of the module.

        Args:
            on_pause: Called with the step before which the module pauses.
        """
        try:
            self._resume_until_end(on_pause)
        except BaseException:
            # A paused module would block the whole test run.
            self.kill()
            raise
        finally:
            self._process.join()
            self._connection.close()

    def _resume_until_end(self, on_pause: Callable[[int], None]) -> None:
        deadline = time.monotonic() + MAX_SECONDS
        while self._connection.poll(max(0.0, deadline - time.monotonic())):
            try:
                on_pause(self._connection.recv())
                self._connection.send(None)
            except (EOFError, ConnectionError):
                return
        self.hung = True
        self.kill()

    def kill(self) -> None:
        """Kill the module."""
        self.killed = True
        self._process.kill()

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The module's result; None if the module was killed before it printed one."""
        text = (self._folder / "stdout").read_text()
        try:
            result: dict[str, Any] = json.loads(text)
        except ValueError:
            return None
        return result

    @property
    def succeeded(self) -> bool:
        """Whether the module reported success."""
        return self.result is not None and not self.result.get("failed")

    @property
    def stderr(self) -> str:
        """The module's standard error, which must be empty."""
        return (self._folder / "stderr").read_text()

    @cached_property
    def traffic(self) -> Traffic:
        """The transferred bytes."""
        methods: dict[int, str] = {}
        transferred: dict[int, int] = {}
        statuses: dict[int, int] = {}
        complete: set[int] = set()
        for line in (self._folder / "traffic").read_text().splitlines():
            kind, number, value = line.split(" ")
            if kind == "request":
                methods[int(number)] = value
            elif kind == "block":
                transferred[int(number)] = transferred.get(int(number), 0) + int(value)
            elif kind == "end":
                complete.add(int(number))
            else:
                statuses[int(number)] = int(value)
        failed = {number for number in methods if not 200 <= statuses.get(number, 0) < 500}
        sent = {number: size for number, size in transferred.items() if methods[number] in ("PATCH", "PUT")}
        received = {number: size for number, size in transferred.items() if number not in sent}
        interrupted = sum(size for number, size in sent.items() if not 200 <= statuses.get(number, 0) < 300)
        interrupted += sum(size for number, size in received.items() if number not in complete)
        return Traffic(sum(sent.values()), sum(received.values()), interrupted, len(failed))

    def has_sent(self, method: str) -> bool:
        """Return whether the module has sent a request with this method, even while it runs."""
        path = self._folder / "traffic"
        return path.exists() and f" {method}\n" in path.read_text()

    def remaining_processes(self) -> list[str]:
        """Return the names of processes that the module left running."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _bracket, fields = path.read_text().rpartition(")")
            except OSError:
                continue
            if int(fields.split()[3]) == self.pid:
                found.append(name)
        return found


def _run(
    connection: Connection,
    folder: Path,
    action: str,
    options: dict[str, Any],
    pauses: frozenset[int],
    environment: dict[str, str],
) -> None:
    """Run the module in the child process."""
    os.setsid()
    # The parent process handles interrupts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
    monitor = _Monitor(connection, folder / "traffic", pauses)
    Registry.request = monitor.logged_requests(Registry.request)  # type: ignore[method-assign]
    Registry.limit = monitor.logged_downloads(Registry.limit)  # type: ignore[method-assign]
    RequestBody.__iter__ = monitor.logged_uploads(RequestBody.__iter__)  # type: ignore[method-assign]
    with patch_module_args(options):
        MODULES[action].main()


class _Monitor:
    """Logs every request and every block of a blob, and pauses the module before some of these steps."""

    def __init__(self, connection: Connection, path: Path, pauses: frozenset[int]) -> None:
        self._connection = connection
        self._pauses = pauses
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._step = 0
        self._request_count = 0
        self._current = threading.local()

    def logged_requests(self, request: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        """Wrap the registry's method that sends requests."""

        def send(registry: Registry, method: str, path: str, **options: Any) -> requests.Response:
            with self._lock:
                self._pause()
                self._request_count += 1
                number = self._current.number = self._request_count
                self._current.is_download = method == "GET" and "/blobs/uploads/" not in path
            self._write("request", number, method)
            response = request(registry, method, path, **options)
            self._write("response", number, response.status_code)
            return response

        return send

    def logged_downloads(self, limit: Callable[..., Blocks]) -> Callable[..., Blocks]:
        """Wrap the registry's method that limits the bandwidth of response bodies."""

        def receive(registry: Registry, blocks: Blocks) -> Blocks:
            limited = limit(registry, blocks)
            return self._counted(limited) if getattr(self._current, "is_download", False) else limited

        return receive

    def logged_uploads(self, blocks_of: Callable[..., Iterator[_Block]]) -> Callable[..., Iterator[_Block]]:
        """Wrap the method that yields the blocks of a request body."""

        def send(body: RequestBody) -> Iterator[_Block]:
            return self._counted(blocks_of(body))

        return send

    def _counted(self, blocks: Iterator[_Block]) -> Iterator[_Block]:
        number = self._current.number
        for block in blocks:
            with self._lock:
                self._pause()
            self._write("block", number, len(block))
            yield block
        self._write("end", number, 0)

    def _pause(self) -> None:
        self._step += 1
        if self._step in self._pauses:
            self._connection.send(self._step)
            self._connection.recv()

    def _write(self, kind: str, number: int, value: object) -> None:
        os.write(self._file, f"{kind} {number} {value}\n".encode())
