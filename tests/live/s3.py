# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An S3 server that stores objects in a folder. Pods reach it at the address of the API server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import layout, programs

ACCESS_KEY = "tests"
SECRET_KEY = "canary-of-the-s3-secret-key"  # noqa: S105 - for a server that runs as long as a test
BUCKET = "images"


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, Any]]:
    """Run an S3 server with a bucket until the end of the block.

    Args:
        folder: The folder for its objects.

    Yields:
        The role's variables for this server.
    """
    (folder / BUCKET).mkdir()
    with socket.socket() as probe:
        probe.bind((layout.HOST_ADDRESS, 0))
        address = f"{layout.HOST_ADDRESS}:{probe.getsockname()[1]}"
    command = [str(programs.ensure(["versitygw"])["versitygw"]), "--quiet", "--port", address, "posix", str(folder)]
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(address)
            yield {
                "registry_storage": "s3",
                "registry_s3_endpoint": f"http://{address}",
                "registry_s3_bucket": BUCKET,
                "registry_s3_access_key": ACCESS_KEY,
                "registry_s3_secret_key": SECRET_KEY,
            }
        finally:
            process.terminate()


def _wait_for(address: str) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the S3 server does not respond"
            time.sleep(0.05)
