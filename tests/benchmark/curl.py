# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""curl as a client: the upper limit of a connection through the API server.

curl transfers only the blobs, without hashing and without queries to the registry.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Union
from urllib.parse import urljoin, urlsplit

from cluster.certificates import CA, Pair

from .client import Client
from .measure import Measurement, measure
from .registry import Registry, administrator
from .workloads import Workload

_Options = dict[str, Union[str, Path]]
_SMALL = 1 << 14
"""Manifests and configs are smaller than this number of bytes; layers are larger."""


def pushes(connections: int = 4, version: str = "http1.1", direct: bool = False) -> Client:
    """Return uploads of blobs; their upload sessions are opened before the measurement.

    Args:
        connections: Number of connections.
        version: HTTP version, as an option of curl.
        direct: Whether to connect to the Pod and not through the API server.
    """

    def run(registry: Registry, workload: Workload, names: Sequence[str], _folder: Path) -> Measurement:
        blobs = _blobs(workload)
        base = _base(registry, direct)
        url = f"{base}/v2/{names[0].partition(':')[0]}/blobs/uploads/"
        transfers: list[_Options] = []
        for blob, location in zip(blobs, _open_uploads(url, len(blobs))):
            options: _Options = {"url": f"{location}&digest=sha256:{blob.name}", "upload-file": blob, "request": "PUT"}
            transfers.append({**options, "header": "Content-Type: application/octet-stream"})
        return _curl(registry, transfers, connections, version)

    return run


def pulls(connections: int = 4, version: str = "http1.1", direct: bool = False, sync: bool = False) -> Client:
    """Return downloads of blobs into files.

    Args:
        connections: Number of connections.
        version: HTTP version, as an option of curl.
        direct: Whether to connect to the Pod and not through the API server.
        sync: Whether to wait until the files are written to disk.
    """

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        url = f"{_base(registry, direct)}/v2/{names[0].partition(':')[0]}/blobs"
        files = {blob.name: folder / blob.name for blob in _blobs(workload)}
        transfers: list[_Options] = [{"url": f"{url}/sha256:{name}", "output": file} for name, file in files.items()]
        return _curl(registry, transfers, connections, version, synced=files.values() if sync else ())

    return run


def _base(registry: Registry, direct: bool) -> str:
    return f"http://{registry.address}" if direct else registry.proxy


def _blobs(workload: Workload) -> list[Path]:
    """Return the layers' files in the source layout."""
    blobs = Path(workload.sources[0].location) / "blobs/sha256"
    return [path for path in sorted(blobs.iterdir()) if path.stat().st_size >= _SMALL]


def _open_uploads(url: str, count: int) -> list[str]:
    with administrator() as session:
        responses = [session.post(url, timeout=60) for _number in range(count)]
    for response in responses:
        response.raise_for_status()
    # The API server does not rewrite the scheme in Location.
    parts = [urlsplit(response.headers["Location"]) for response in responses]
    return [urljoin(url, f"{location.path}?{location.query}") for location in parts]


def _curl(
    registry: Registry,
    transfers: Iterable[_Options],
    connections: int,
    version: str,
    synced: Iterable[Path] = (),
) -> Measurement:
    identity = {"cacert": CA.certificate, "cert": Pair("admin").certificate, "key": Pair("admin").key}
    with tempfile.NamedTemporaryFile("w", suffix=".curlrc") as configuration:
        flags = [version, "silent", "show-error", "fail"]
        blocks = [[f'{name} = "{value}"' for name, value in {**one, **identity}.items()] + flags for one in transfers]
        configuration.write("\nnext\n".join(map("\n".join, blocks)))
        configuration.flush()
        command = [
            "curl",
            "--no-progress-meter",
            "--parallel",
            "--parallel-max",
            str(connections),
            "--config",
            configuration.name,
        ]
        if files := list(map(str, synced)):
            command = ["sh", "-ec", f"{shlex.join(command)}\n{shlex.join(['sync', *files])}"]
        return measure(command, components={"registry": registry.pids}).measured
