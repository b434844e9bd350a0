# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients that copy many images of an upstream registry into a folder, as for a medium."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from cluster import layout
from images.layout import Layout

from .client import Client
from .measure import CommandResult, Failed, Measurement, measure
from .registry import Registry
from .upstream import Upstream
from .workloads import Source, Workload

HERE = Path(__file__).parent
_LOG_SECONDS = 0.5
"""Seconds until the registry has written the lines of all requests."""

Command = Callable[[Upstream, Sequence[str], Path], list[str]]
"""Builds a command line. Arguments: the registry, the names of the images, and the folder for them."""


def selected(workload: Workload, names: Sequence[str]) -> list[tuple[Source, str]]:
    """Return the images to copy with their names. The last of several images is a changed version of the first."""
    count = max(len(workload.sources) - 1, 1)
    return list(zip(workload.sources[:count], names))


def bundle(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
    """Run ``k8scr_bundle`` without a playbook."""
    return _bundle(registry, workload, names, folder / "bundle")


def delta(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
    """Run ``k8scr_bundle`` with ``since`` after one image changed."""
    whole = folder / "whole"
    _bundle(registry, workload, names, whole)
    with _Changed(_upstream(registry), workload, names) as changed:
        measured = _bundle(registry, workload, names, folder / "delta", since=str(whole))
        return replace(measured, needed=changed.layer)


def program(command: Command) -> Client:
    """Return a client that is a program."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        upstream = _upstream(registry)
        images = [name for _source, name in selected(workload, names)]
        return _measured(upstream, command(upstream, images, folder), "", folder)[0]

    return run


def again(client: Client) -> Client:
    """Return the second run of a client, which has nothing to do."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        client(registry, workload, names, folder)
        return client(registry, workload, names, folder)

    return run


def after_change(client: Client) -> Client:
    """Return the second run of a client, after one layer of one image changed."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        client(registry, workload, names, folder)
        with _Changed(_upstream(registry), workload, names) as changed:
            return replace(client(registry, workload, names, folder), needed=changed.layer)

    return run


def curl(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
    """Download all layers, each once, over four connections; curl neither verifies digests nor reads manifests."""
    upstream = _upstream(registry)
    urls: dict[str, str] = {}
    for source, name in selected(workload, names):
        for layer in Layout(Path(source.location)).read(source.digest)["layers"]:
            url = f"http://{upstream.address}/v2/{name.partition(':')[0]}/blobs/{layer['digest']}"
            urls.setdefault(layer["digest"].partition(":")[2], url)
    configuration = folder / "curlrc"
    flags = ["http1.1", "silent", "show-error", "fail"]
    blocks = [[f'url = "{url}"', f'output = "{folder / digest}"', *flags] for digest, url in urls.items()]
    configuration.write_text("\nnext\n".join(map("\n".join, blocks)))
    command = ["curl", "--no-progress-meter", "--parallel", "--parallel-max", "4", "--config", str(configuration)]
    return _measured(upstream, command, "", folder)[0]


def skopeo_sync(upstream: Upstream, names: Sequence[str], folder: Path) -> list[str]:
    """Return ``skopeo sync`` into folders of its format ``dir:``."""
    images = {repository: [tag] for repository, _colon, tag in (name.partition(":") for name in names)}
    file = folder / "sync.yml"
    file.write_text(yaml.safe_dump({upstream.address: {"tls-verify": False, "images": images}}))
    command = ["skopeo", "--insecure-policy", "sync", "--all", "--preserve-digests", "--src=yaml", "--dest=dir"]
    return [*command, str(file), str(folder / "skopeo")]


def regctl_copy(upstream: Upstream, names: Sequence[str], folder: Path) -> list[str]:
    """Return ``regctl image copy`` of each image into one layout."""
    regctl = [str(layout.BIN / "regctl"), f"--host=reg={upstream.address},tls=disabled", "image", "copy"]
    target = f"ocidir://{folder / 'regctl'}"
    commands = [
        [*regctl, f"{upstream.address}/{name}", f"{target}:image-{number}"] for number, name in enumerate(names)
    ]
    return ["sh", "-ec", "\n".join(map(shlex.join, commands))]


def crane_pull(upstream: Upstream, names: Sequence[str], folder: Path) -> list[str]:
    """Return ``crane pull`` of all images into one layout."""
    images = [f"{upstream.address}/{name}" for name in names]
    return [str(layout.BIN / "crane"), "pull", "--insecure", "--format=oci", *images, str(folder / "crane")]


class _Changed:
    """The first image has another last layer until the end of the block.

    Attributes:
        layer: The bytes of that layer.
    """

    def __init__(self, upstream: Upstream, workload: Workload, names: Sequence[str]) -> None:
        self._upstream, self._workload, self._name = upstream, workload, names[0]
        changed = workload.sources[-1]
        self.layer = int(Layout(Path(changed.location)).read(changed.digest)["layers"][-1]["size"])

    def __enter__(self) -> _Changed:
        self._upstream.fill([(self._workload.sources[-1], self._name)])
        return self

    def __exit__(self, *_error: object) -> None:
        self._upstream.fill([(self._workload.sources[0], self._name)])


def _upstream(registry: Registry) -> Upstream:
    assert isinstance(registry, Upstream)
    return registry


def _bundle(registry: Registry, workload: Workload, names: Sequence[str], dest: Path, **options: str) -> Measurement:
    upstream = _upstream(registry)
    given = {
        "images": [f"docker://{upstream.address}/{name}" for _source, name in selected(workload, names)],
        "dest": str(dest),
        "upstreams": [{"host": upstream.address, "plain_http": True}],
        **options,
    }
    command = [sys.executable, str(HERE / "run_module.py"), "k8scr_bundle"]
    measured, finished = _measured(upstream, command, json.dumps(given), dest)
    result, inside = filter(None, finished.output.splitlines())
    if json.loads(result).get("failed"):
        raise Failed(f"k8scr_bundle: {json.loads(result)['msg']}")
    return replace(measured, inside=float(inside))


def _measured(
    upstream: Upstream, command: Sequence[str], stdin: str, folder: Path
) -> tuple[Measurement, CommandResult]:
    """Run a command; add the requests of the registry and the bytes of the folder to its measurement."""
    before = upstream.requests()
    finished = measure(command, components={"registry": upstream.pids}, stdin=stdin)
    time.sleep(_LOG_SECONDS)
    written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return replace(finished.measured, requests=upstream.requests() - before, written=written), finished
