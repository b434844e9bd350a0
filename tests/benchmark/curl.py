# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The road's limit: curl moves an image's blobs, hashes nothing and asks nothing."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Union
from urllib.parse import urljoin, urlsplit

from cluster.certificates import CA, Pair

from .measure import Measured, measure
from .registry import Registry, administrator
from .way import Way
from .works import Work

_Options = dict[str, Union[str, Path]]
_SMALL = 1 << 14
"""Bytes below which a blob is a manifest or a config."""


def pushes(connections: int = 4, version: str = "http1.1", straight: bool = False) -> Way:
    """Uploads, whose sessions are open already.

    Args:
        connections: How many at once.
        version: Of HTTP.
        straight: Whether they go to the Pod itself, and not through the API server.
    """

    def act(registry: Registry, work: Work, names: Sequence[str], _folder: Path) -> Measured:
        blobs = _blobs(work)
        base = _base(registry, straight)
        url = f"{base}/v2/{names[0].partition(':')[0]}/blobs/uploads/"
        transfers: list[_Options] = []
        for blob, location in zip(blobs, _open_uploads(url, len(blobs))):
            options: _Options = {"url": f"{location}&digest=sha256:{blob.name}", "upload-file": blob, "request": "PUT"}
            transfers.append({**options, "header": "Content-Type: application/octet-stream"})
        return _curl(registry, transfers, connections, version)

    return act


def pulls(connections: int = 4, version: str = "http1.1", straight: bool = False, synced: bool = False) -> Way:
    """Downloads into files.

    Args:
        connections: How many at once.
        version: Of HTTP.
        straight: Whether they come from the Pod itself, and not through the API server.
        synced: Whether it is waited for until they are on the disk.
    """

    def act(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
        url = f"{_base(registry, straight)}/v2/{names[0].partition(':')[0]}/blobs"
        files = {blob.name: folder / blob.name for blob in _blobs(work)}
        transfers: list[_Options] = [{"url": f"{url}/sha256:{name}", "output": file} for name, file in files.items()]
        return _curl(registry, transfers, connections, version, synced=files.values() if synced else ())

    return act


def _base(registry: Registry, straight: bool) -> str:
    return f"http://{registry.address}" if straight else registry.proxy


def _blobs(work: Work) -> list[Path]:
    """The layers, in the layout that they come from."""
    blobs = Path(work.sources[0].place) / "blobs/sha256"
    return [path for path in sorted(blobs.iterdir()) if path.stat().st_size >= _SMALL]


def _open_uploads(url: str, count: int) -> list[str]:
    with administrator() as session:
        answers = [session.post(url, timeout=60) for _number in range(count)]
    for answer in answers:
        answer.raise_for_status()
    # The API server leaves the registry's own scheme there.
    parts = [urlsplit(answer.headers["Location"]) for answer in answers]
    return [urljoin(url, f"{location.path}?{location.query}") for location in parts]


def _curl(
    registry: Registry,
    transfers: Iterable[_Options],
    connections: int,
    version: str,
    synced: Iterable[Path] = (),
) -> Measured:
    identity = {"cacert": CA.certificate, "cert": Pair("admin").certificate, "key": Pair("admin").key}
    with tempfile.NamedTemporaryFile("w", suffix=".curlrc") as configuration:
        words = [version, "silent", "show-error", "fail"]
        blocks = [[f'{name} = "{value}"' for name, value in {**one, **identity}.items()] + words for one in transfers]
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
        return measure(command, more={"registry": registry.pids}).measured
