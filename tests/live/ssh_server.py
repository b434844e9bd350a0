# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An SSH server on this machine, whose connections tests can cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cluster.waiting import free_port, wait_for_port


class SshServer:
    """A server on 127.0.0.1 that runs until the end of the block.

    Args:
        folder: The folder for its keys and for the configuration of its clients.

    Attributes:
        programs: A folder for PATH with a program ``ssh`` that connects to the server under the host name ``engine``.
    """

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        options = [f"Port={self._port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host", "PidFile=none"]
        options += [f"AuthorizedKeysFile={folder}/user.pub", "StrictModes=no", "PermitRootLogin=yes", "UsePAM=no"]
        options += ["Subsystem=sftp internal-sftp"]
        self._command = [str(shutil.which("sshd")), "-D", "-e", "-f", "/dev/null", *(f"-o{each}" for each in options)]
        client = folder / "client"
        client.write_text(
            f"Host engine\n  HostName 127.0.0.1\n  Port {self._port}\n  IdentityFile {folder}/user\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        )
        self.programs = folder / "bin"
        self.programs.mkdir()
        (self.programs / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {client} "$@"\n')
        (self.programs / "ssh").chmod(0o755)

    def __enter__(self) -> SshServer:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_for_port(self._port, "sshd")

    def cut(self) -> None:
        """Kill the server and its connections, but not the programs that clients started."""
        assert self._process
        for process in [*_servers_below(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        self._process = None


def _servers_below(process: int) -> Iterator[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()
    for child in map(int, children):
        with suppress(FileNotFoundError):
            if Path(f"/proc/{child}/comm").read_text("ascii").startswith("sshd"):
                yield from _servers_below(child)
                yield child
