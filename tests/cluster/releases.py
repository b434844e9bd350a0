# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads official releases and verifies their checksums."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from . import layout
from .catalogue import Program, Release
from .errors import ClusterError, log

TIMEOUT = 4
"""Seconds. It is short, because machines without internet access wait for it."""

_unreachable: set[str] = set()
"""Hosts that did not respond; a run tries each host once."""


def download_into_cache(program: Program, destination: Path) -> Path | None:
    """Download the program to `destination`; return None if it is not published or not reachable."""
    release = program.release
    if release is None or _host(release.url) in _unreachable:
        return None
    scratch = Path(tempfile.mkdtemp(prefix=".build-", dir=layout.PROGRAMS))
    try:
        sums = scratch / "sums"
        _fetch(release.sums, sums)
        log(f"{program.name} {program.version}: downloading the official release")
        archive = scratch / "release"
        digest = _fetch(release.url, archive)
        if digest not in sums.read_text(encoding="utf-8").split():
            raise ClusterError(f"{release.url} has the SHA-256 {digest}, which {release.sums} does not list")
        path = _unpack(release, archive, scratch / "program")
        path.chmod(0o755)
        destination.parent.mkdir(parents=True, exist_ok=True)
        path.replace(destination)
    except (OSError, http.client.HTTPException):
        _unreachable.add(_host(release.url))
        return None
    else:
        return destination
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack(release: Release, archive: Path, destination: Path) -> Path:
    """Return the program of a verified download, extracted if it is an archive."""
    if release.member is None:
        return archive
    with tarfile.open(archive) as stream:
        wanted = (entry for entry in stream if entry.name.lstrip("./") == release.member)
        entry = next(wanted, None)
        content = stream.extractfile(entry) if entry else None
        if content is None:
            raise ClusterError(f"{release.url} does not contain {release.member}")
        with destination.open("wb") as output:
            shutil.copyfileobj(content, output)
    return destination


def _fetch(url: str, destination: Path) -> str:
    """Download `url` to `destination` and return the SHA-256 of the content."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, destination.open("wb") as out:  # noqa: S310
        while block := response.read(1 << 20):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc
