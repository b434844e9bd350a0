# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module as a process of its own, which can be stopped between two of its steps, and killed.

A process that is forked from one that has imported everything begins its work at once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import requests
from ansible.module_utils.testing import patch_module_args
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload import RequestBody
from ansible_collections.k8scr.core.plugins.modules import k8scr_pull, k8scr_push

MODULES = {"push": k8scr_push, "pull": k8scr_pull}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, kubernetes.client.__name__, kubernetes.config.__name__])
LONGEST = 300.0
"""Seconds after which a module counts as one that hangs."""


@dataclass(frozen=True)
class Traffic:
    """What a run moved, in bytes of blobs.

    Attributes:
        sent: What was handed to connections.
        received: What was read from connections.
        cut: As much of that as was in requests that did not come to their end.
        failures: How many requests failed, or had no answer.
    """

    sent: int = 0
    received: int = 0
    cut: int = 0
    failures: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.sent + other.sent,
            self.received + other.received,
            self.cut + other.cut,
            self.failures + other.failures,
        )


class Run:
    """A run of a module.

    Args:
        folder: Where its output goes.
        action: "push" or "pull".
        options: The module's options.
        stops: The steps before which it waits; the first one is 1.
        environment: Environment variables.
    """

    def __init__(
        self,
        folder: Path,
        action: str,
        options: Mapping[str, Any],
        stops: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._connection, theirs = CONTEXT.Pipe()
        words = (theirs, folder, action, dict(options), frozenset(stops), dict(environment or {}))
        self._process = CONTEXT.Process(target=_run, args=words)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self.killed = False
        self.hung = False

    def attend(self, strike: Callable[[int], None] = lambda _step: None) -> None:
        """Wait until it ends.

        Args:
            strike: Is called with each step that the module waits before.
        """
        try:
            self._attend(strike)
        except BaseException:
            # It would wait for ever, and the end of all deliveries for it.
            self.kill()
            raise
        finally:
            self._process.join()
            self._connection.close()

    def _attend(self, strike: Callable[[int], None]) -> None:
        deadline = time.monotonic() + LONGEST
        while self._connection.poll(max(0.0, deadline - time.monotonic())):
            try:
                strike(self._connection.recv())
                self._connection.send(None)
            except (EOFError, ConnectionError):
                return
        self.hung = True
        self.kill()

    def kill(self) -> None:
        """End it without a warning."""
        self.killed = True
        self._process.kill()

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """What the module said; nothing if it was killed before it could."""
        text = (self._folder / "stdout").read_text()
        try:
            result: dict[str, Any] = json.loads(text)
        except ValueError:
            return None
        return result

    @property
    def succeeded(self) -> bool:
        """Whether the module said so."""
        return self.result is not None and not self.result.get("failed")

    @property
    def complaints(self) -> str:
        """What it wrote to standard error, where nothing should be."""
        return (self._folder / "stderr").read_text()

    @cached_property
    def traffic(self) -> Traffic:
        """What it moved."""
        requested: dict[int, str] = {}
        moved: dict[int, int] = {}
        answered: dict[int, int] = {}
        whole: set[int] = set()
        for line in (self._folder / "traffic").read_text().splitlines():
            kind, number, value = line.split(" ")
            if kind == "asks":
                requested[int(number)] = value
            elif kind == "moves":
                moved[int(number)] = moved.get(int(number), 0) + int(value)
            elif kind == "ends":
                whole.add(int(number))
            else:
                answered[int(number)] = int(value)
        failed = {number for number in requested if not 200 <= answered.get(number, 0) < 500}
        sent = {number: size for number, size in moved.items() if requested[number] in ("PATCH", "PUT")}
        received = {number: size for number, size in moved.items() if number not in sent}
        cut = sum(size for number, size in sent.items() if not 200 <= answered.get(number, 0) < 300)
        cut += sum(size for number, size in received.items() if number not in whole)
        return Traffic(sum(sent.values()), sum(received.values()), cut, len(failed))

    def survivors(self) -> list[str]:
        """The processes that it has left behind."""
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
    stops: frozenset[int],
    environment: dict[str, str],
) -> None:
    """What the process does."""
    os.setsid()
    # multiprocessing's parent has taken an interrupt upon itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
    watch = _Watch(connection, folder / "traffic", stops)
    Registry.request = watch.watched(Registry.request)  # type: ignore[method-assign]
    Registry.limit = watch.received(Registry.limit)  # type: ignore[method-assign]
    RequestBody.__iter__ = watch.sent(RequestBody.__iter__)  # type: ignore[method-assign]
    with patch_module_args(options):
        MODULES[action].main()


class _Watch:
    """Writes down every request and every block of a blob, and lets the module wait before some of these."""

    def __init__(self, connection: Connection, path: Path, stops: frozenset[int]) -> None:
        self._connection = connection
        self._stops = stops
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._step = 0
        self._requests = 0
        self._current = threading.local()

    def watched(self, request: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        """The registry's method that sends a request, with an eye on it."""

        def send(registry: Registry, method: str, path: str, **options: Any) -> requests.Response:
            with self._lock:
                self._wait()
                self._requests += 1
                number = self._current.number = self._requests
                self._current.is_download = method == "GET" and "/blobs/uploads/" not in path
            self._write("asks", number, method)
            response = request(registry, method, path, **options)
            self._write("answer", number, response.status_code)
            return response

        return send

    def received(self, limit: Callable[..., Blocks]) -> Callable[..., Blocks]:
        """The registry's method that passes bodies' blocks on, with an eye on those of downloads."""

        def receive(registry: Registry, blocks: Blocks) -> Blocks:
            limited = limit(registry, blocks)
            return self._counted(limited) if getattr(self._current, "is_download", False) else limited

        return receive

    def sent(self, blocks_of: Callable[..., Blocks]) -> Callable[..., Blocks]:
        """The method that gives the blocks of a request's body, with an eye on them."""

        def send(body: RequestBody) -> Blocks:
            return self._counted(blocks_of(body))

        return send

    def _counted(self, blocks: Blocks) -> Blocks:
        number = self._current.number
        for block in blocks:
            with self._lock:
                self._wait()
            self._write("moves", number, len(block))
            yield block
        self._write("ends", number, 0)

    def _wait(self) -> None:
        self._step += 1
        if self._step in self._stops:
            self._connection.send(self._step)
            self._connection.recv()

    def _write(self, kind: str, number: int, value: object) -> None:
        os.write(self._file, f"{kind} {number} {value}\n".encode())
