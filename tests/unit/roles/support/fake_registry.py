# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of CNCF distribution that the script of the role registry runs, with files that control them.

The folder in K8SCR_FAKE has the files ``version`` (the output of --version) and, to control the commands, ``drain`` (a
stopped server keeps running while it exists), ``hold`` (the same for the collector) and ``fail`` (the collector prints
it and fails). The collector writes its arguments to ``collected`` and deletes the files named ``garbage``.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["K8SCR_FAKE"])


def wait_while(name: str) -> None:
    """Wait while a control file exists."""
    while (FOLDER / name).exists():
        time.sleep(0.02)


def serve(config: dict[str, Any]) -> None:
    """Serve until SIGTERM; writes fail if the configuration is read-only."""
    readonly = config["storage"]["maintenance"]["readonly"]["enabled"]
    headers = json.loads(os.environ["REGISTRY_HTTP_HEADERS"])

    # The import of http.server would take longer than all else.
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method = self.rfile.readline().partition(b" ")[0]
            while self.rfile.readline().strip():
                pass
            status = "405 Method Not Allowed" if readonly and method != b"GET" else "200 OK"
            lines = [f"HTTP/1.0 {status}", *(f"{name}: {values[0]}" for name, values in headers.items())]
            self.wfile.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    host, port = config["http"]["addr"].rsplit(":", 1)
    with Server((host, int(port)), Handler) as server:
        signal.signal(signal.SIGTERM, lambda *_arguments: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.01)
    wait_while("drain")


def collect(config: dict[str, Any], options: list[str]) -> None:
    """Collect garbage."""
    with (FOLDER / "collected").open("a") as file:
        file.write(" ".join(["garbage-collect", *options]) + "\n")
    wait_while("hold")
    failure = FOLDER / "fail"
    if failure.exists():
        sys.exit(failure.read_text())
    for path in Path(config["storage"]["filesystem"]["rootdirectory"]).rglob("garbage"):
        path.unlink()


def main(command: str, *arguments: str) -> None:
    """Run a command."""
    if command == "--version":
        print((FOLDER / "version").read_text())
        return
    *options, path = arguments
    config = json.loads(Path(path).read_text())
    if command == "serve":
        serve(config)
    else:
        collect(config, options)


if __name__ == "__main__":
    main(*sys.argv[1:])
