# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH access for playbooks: a server on each node, and the keys."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from . import files, layout
from .components import SYSTEM_PATH
from .errors import ClusterError
from .layout import NODES, Node

CLIENT_KEY = layout.SSH / "client"
KNOWN_HOSTS = layout.SSH / "known_hosts"
_HOST_KEY = layout.SSH / "host"
_PORT = 22


def prepare() -> None:
    """Make the missing keys, and write the clients' known_hosts file."""
    layout.SSH.mkdir(parents=True, exist_ok=True)
    for key in (CLIENT_KEY, _HOST_KEY):
        if not key.exists():
            _make(key)
    public = _public(_HOST_KEY).read_text(encoding="ascii")
    files.write(KNOWN_HOSTS, "".join(f"{node.address} {public}" for node in NODES))


def server_flags() -> list[str]:
    """Return the server's options. Sessions have the cluster's programs in their PATH, as if they were installed."""
    options = (
        f"Port={_PORT}",
        f"HostKey={_HOST_KEY}",
        f"AuthorizedKeysFile={_public(CLIENT_KEY)}",
        "StrictModes=no",
        "PermitRootLogin=prohibit-password",
        "UsePAM=no",
        "PidFile=none",
        f"SetEnv=PATH={layout.BIN}:{SYSTEM_PATH}",
        "Subsystem=sftp internal-sftp",
    )
    return ["-D", "-e", "-f", "/dev/null", *(f"-o{option}" for option in options)]


def check(node: Node) -> str | None:
    """Return the problem of the node's server, or None if it works."""
    try:
        with socket.create_connection((node.address, _PORT), 1) as connection:
            return None if connection.recv(4) == b"SSH-" else "does not respond"
    except OSError as error:
        return f"does not respond: {error}"


def _public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def _make(key: Path) -> None:
    # The private key is renamed last: if it exists, the public key exists too.
    temporary = key.with_name(f"{key.name}.new")
    for file in (temporary, _public(temporary)):
        file.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "k8scr-core", "-f", str(temporary)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"ssh-keygen failed: {result.stderr.strip()}")
    _public(temporary).replace(_public(key))
    temporary.replace(key)
