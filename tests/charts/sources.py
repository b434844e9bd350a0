# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds and downloads the charts and manifests of the catalogue; the cache has one folder for each version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster import layout

from .catalogue import GoModule, Input, Repository

MIRROR_VARIABLE = "K8SCR_GITHUB_MIRROR"
"""A folder or URL with the repositories as ``OWNER/NAME``, in place of GitHub."""
_CACHE = layout.CACHE / "charts"
_REMOTE = {
    "promisor": "true",
    "partialclonefilter": "blob:none",
    # A mirror in a folder; a server has its own settings.
    "uploadpack": "git -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true upload-pack",
}


def path_of(wanted: Input) -> Path:
    """Return the path of a chart or of manifests, downloading them if they are missing.

    Raises:
        CalledProcessError: They cannot be downloaded; the output of git or go tells why.
    """
    source = wanted.source
    if isinstance(source, GoModule) and shutil.which("go"):
        return _module(source) / wanted.path
    if isinstance(source, GoModule):
        source = Repository(source.repository, f"refs/tags/v{source.version}")
    return _checkout(source, wanted.path) / wanted.path


def _module(module: GoModule) -> Path:
    command = ["go", "mod", "download", "-json", f"{module.path}@v{module.version}"]
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return Path(json.loads(result.stdout)["Dir"])


def _checkout(repository: Repository, path: str) -> Path:
    """Return a folder with a path of a repository."""
    version = repository.commit.rpartition("/")[2][:12]
    key = f"{repository.name}/{path}".replace("/", "-").strip("-.")
    final = _CACHE / f"{key}-{version}"
    if final.exists():
        return final
    _CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=_CACHE))
    try:
        url = f"{os.environ.get(MIRROR_VARIABLE) or 'https://github.com'}/{repository.name}"
        files = scratch / "files"
        files.mkdir()
        _git(scratch, "init", "--quiet", "git")
        for setting, value in _REMOTE.items():
            _git(scratch / "git", "config", f"remote.origin.{setting}", value)
        _git(scratch / "git", "config", "remote.origin.url", url)
        _git(scratch / "git", "config", "gc.auto", "0")
        # Only the files below the path are downloaded.
        _git(scratch / "git", "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", repository.commit)
        _git(scratch / "git", f"--work-tree={files}", "checkout", "--quiet", "FETCH_HEAD", "--", path)
        files.rename(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, stdin=subprocess.DEVNULL)
