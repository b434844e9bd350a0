# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the script of the role registry without a container, as the kubelet does: killed with all its processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.waiting import free_port, wait_until

SCRIPT = Path(__file__).resolve().parents[4] / "roles/registry/files/registry.sh"
FAKE = Path(__file__).with_name("fake_registry.py")
WRITE_PATH = "/secretsecretsecretsecret/"
# A shorter pause makes the tests faster. A function takes precedence over the applets of busybox.
START = 'sleep() { echo >>"$K8SCR_FAKE/pauses"; /bin/sleep 0.1; }; . "$0"'


@dataclass
class RegistryScript:
    """The script with its files below a folder.

    Attributes:
        shell: The command of the shell.
        program: The program registry; None for a fake.
        variables: Additional environment variables.
    """

    folder: Path
    shell: Sequence[str] = ("sh",)
    program: Path | None = None
    pod: str = "k8scr-0"
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("config", "state", "storage", "fake", "bin"):
            (self.folder / name).mkdir(parents=True)
        (self.fake / "version").write_text("registry github.com/distribution/distribution/v3 3.1.2")
        for name, readonly in (("registry", False), ("collection", True)):
            (self.folder / f"config/{name}.yaml").write_text(json.dumps(self._config(readonly)))
        command = f'"{self.program}"' if self.program else f'"{sys.executable}" -I -S "{FAKE}"'
        path = self.folder / "bin/registry"
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)

    @property
    def fake(self) -> Path:
        """The folder that controls the fake."""
        return self.folder / "fake"

    @property
    def blobs(self) -> Path:
        return self.folder / "storage/docker/registry/v2/blobs"

    def _config(self, readonly: bool) -> dict[str, object]:
        return {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "storage")},
                "delete": {"enabled": not readonly},
                "maintenance": {"readonly": {"enabled": readonly}, "uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{self.port}", "draintimeout": "20s"},
        }

    def start(self) -> None:
        arguments = ["config", "request", "state", "storage"]
        environment = {
            **os.environ,
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "K8SCR_FAKE": str(self.fake),
            "K8SCR_POD": self.pod,
            "OTEL_TRACES_EXPORTER": "none",
            "REGISTRY_HTTP_PREFIX": WRITE_PATH,
            "REGISTRY_HTTP_SECRET": "signing-secret",
            **self.variables,
        }
        command = [*self.shell, "-c", START, str(SCRIPT), *(str(self.folder / name) for name in arguments)]
        self.process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """Kill all processes, as the end of the first process of a container does."""
        assert self.process is not None
        if self.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self.is_alive(), "all processes have ended")

    def is_alive(self) -> bool:
        """Return whether a process of the group runs."""
        assert self.process is not None
        return self.process.pid in _running_groups()

    def wait_for_pauses(self, count: int) -> None:
        """Wait until the script begins this many more pauses."""
        pauses = self.fake / "pauses"
        before = pauses.stat().st_size if pauses.exists() else 0
        wait_until(lambda: pauses.exists() and pauses.stat().st_size >= before + count, "the script pauses")

    def request(self, text: str) -> None:
        """Request a collection."""
        (self.folder / "request").write_text(text)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse | None:
        """Send a request to a path below the write path; return None if the port is closed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path if path.startswith(WRITE_PATH) else WRITE_PATH[:-1] + path, body, headers)
            response = connection.getresponse()
            response.body = response.read()  # type: ignore[attr-defined]
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return response

    def state(self) -> str:
        """Return the header that reports collections; empty if the port is closed."""
        response = self.send("GET", "/v2/")
        return response.headers.get("K8scr-Collection", "") if response else ""

    def is_writable(self) -> bool:
        response = self.send("PUT", "/v2/")
        return response is not None and response.status != 405

    def wait_for(self, state: str) -> str:
        """Wait until the header begins with a text or contains it as a word, and return the header."""
        wait_until(lambda: self.state().startswith(state) or f" {state} " in self.state(), f"the state is {state}", 20)
        return self.state()


def _running_groups() -> Iterator[int]:
    """Yield the process groups of all processes, without those that ended and still have an entry.

    The entry of an orphan is removed by the init process, which may take a second.
    """
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The program's name is in parentheses and may contain any character: parse after the last parenthesis.
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, group, threads = fields[0], int(fields[2]), int(fields[17])
        # The first thread may end before the others.
        if state not in "ZX" or threads > 1:
            yield group


@contextmanager
def running(script: RegistryScript) -> Iterator[RegistryScript]:
    """Run the script until the end of the block."""
    script.start()
    try:
        yield script
    finally:
        script.kill()
