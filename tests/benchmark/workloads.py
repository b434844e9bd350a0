# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images that the benchmark pushes and pulls."""

from __future__ import annotations

import json
import os
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import images
from cluster.media_types import CONFIG, LAYER, MANIFEST
from images.cache import cached
from images.layout import Descriptor, Layout, sha256
from images.sizes import MIB
from live.engines import Engine, docker_engine
from live.layout_writer import LayoutWriter

FILES = Path("/usr")
"""Source of real files."""


@dataclass(frozen=True)
class Source:
    """One image outside the registry, as the source of a push or the destination of a pull.

    Attributes:
        transport: The transport, such as ``oci``.
        location: A folder, a file, or a name in an engine.
        digest: The manifest's digest, if the image has one.
        engine: The address of the engine, for ``docker-daemon``.
    """

    transport: str
    location: str
    digest: str = ""
    engine: str = ""

    @property
    def reference(self) -> str:
        """The reference with its transport, as in the modules' options and for skopeo."""
        return f"{self.transport}:{self.location}"


@dataclass(frozen=True)
class Workload:
    """Images that are transferred in one measurement.

    Attributes:
        sources: The images.
        size: Total bytes; blobs that several images share count once for each image.
    """

    sources: tuple[Source, ...]
    size: int

    @property
    def engine(self) -> str:
        """The address of the engine, for ``docker-daemon``."""
        return self.sources[0].engine


Factory = Callable[["Workloads"], Workload]


class Workloads:
    """Creates workloads, each once.

    Args:
        folder: Folder for images.
        scale: Factor of all sizes.
        stack: Stops the engines at its end.
    """

    def __init__(self, folder: Path, scale: float, stack: ExitStack) -> None:
        self._folder = folder
        self._scale = scale
        self._stack = stack
        self._create = cache(lambda factory: factory(self))

    def get(self, factory: Factory) -> Workload:
        """Return the factory's workload, and create it if it is missing."""
        workload: Workload = self._create(factory)
        return workload

    def scaled(self, mebibytes: float) -> int:
        """Return the scaled size in bytes."""
        return max(int(mebibytes * self._scale * MIB), 1 << 16)

    def folder(self, name: str) -> Path:
        """Return the path of a folder, which does not exist yet."""
        return self._folder / name

    def engine(self) -> Engine:
        """Start a Docker engine without images."""
        return self._stack.enter_context(docker_engine())


def random_image(mebibytes: int, layers: int) -> Factory:
    """Create an image of incompressible bytes."""

    @cache
    def create(workloads: Workloads) -> Workload:
        image = images.ensure_random(workloads.scaled(mebibytes), layers)
        return Workload((Source("oci", str(image.layout), image.digest),), workloads.scaled(mebibytes))

    return create


def zeros(mebibytes: float, layers: int, count: int = 1) -> Factory:
    """Create images with layers of zeros in sparse files; several images share one layout."""

    def create(workloads: Workloads) -> Workload:
        size = workloads.scaled(mebibytes)
        writer = LayoutWriter(workloads.folder(f"zeros-{mebibytes}-{layers}-{count}"))
        names = [f"example.com/zeros/image-{number}:1" for number in range(count)]
        for number, name in enumerate(names):
            writer.add(name, layers, size // layers + number * layers)
        writer.finish()
        locations = [f"{writer.folder}:{name}" if count > 1 else str(writer.folder) for name in names]
        digests = [str(entry["digest"]) for entry in writer.entries]
        return Workload(tuple(Source("oci", *pair) for pair in zip(locations, digests)), size * count)

    return create


def changed_layer(mebibytes: int, layers: int) -> tuple[Factory, Factory]:
    """Create an image, and a copy of it with another last layer."""
    before = random_image(mebibytes, layers)

    def after(workloads: Workloads) -> Workload:
        source = workloads.get(before).sources[0]
        old = Layout(Path(source.location))
        kept = old.read(source.digest)["layers"][:-1]
        new = Layout(workloads.folder(f"changed-{mebibytes}-{layers}"))
        new.create()
        for layer in kept:
            name = layer["digest"].partition(":")[2]
            os.link(old.blobs / name, new.blobs / name)
        digest = _image(new, [*kept, _random_layer(new, workloads.scaled(mebibytes / layers), "changed")])
        return Workload((Source("oci", str(new.folder), digest),), workloads.scaled(mebibytes))

    return before, after


def many_images(count: int, mebibytes: float) -> Factory:
    """Create images in one layout each: one layer shared by all, one shared by groups of ten, one of their own."""

    def create(workloads: Workloads) -> Workload:
        size = workloads.scaled(mebibytes)
        shared = Layout(workloads.folder(f"shared-{count}"))
        shared.create()
        base = _random_layer(shared, size * 2 // 5, "base")
        middle = [_random_layer(shared, size * 2 // 5, f"middle {number}") for number in range(-(-count // 10))]
        sources = []
        for number in range(count):
            one = Layout(workloads.folder(f"one-of-{count}-{number}"))
            one.create()
            layers = [base, middle[number // 10]]
            for layer in layers:
                name = layer["digest"].partition(":")[2]
                os.link(shared.blobs / name, one.blobs / name)
            digest = _image(one, [*layers, _random_layer(one, size // 5, f"own {number}")])
            sources.append(Source("oci", str(one.folder), digest))
        return Workload(tuple(sources), size * count)

    return create


def _random_layer(layout: Layout, size: int, seed: str) -> Descriptor:
    return layout.stream([random.Random(seed).randbytes(size)], LAYER)  # noqa: S311 - nothing secret


def _image(layout: Layout, layers: list[Descriptor]) -> str:
    """Tag an image of these layers in the layout, and return its digest."""
    config = layout.document(_config([layer["digest"] for layer in layers]), CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    described = layout.document(manifest, MANIFEST)
    layout.tag(described, "example.com/made:1")
    return str(described["digest"])


def _config(layers: list[str]) -> dict[str, Any]:
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": layers}}


def real_files(megabytes: int, layers: int = 5) -> Factory:
    """Create a ``docker save`` archive of real files."""

    def create(workloads: Workloads) -> Workload:
        size = workloads.scaled(megabytes * 1e6 / MIB)
        folder = cached(f"files-{size}", f"{layers}", lambda folder: _save(folder, size, layers))
        archive = folder / "docker-archive.tar"
        return Workload((Source("docker-archive", str(archive)),), archive.stat().st_size)

    return create


def _save(folder: Path, size: int, layers: int) -> None:
    files = _files(FILES)
    names = []
    for number in range(layers):
        names.append(f"{number}/layer.tar")
        (folder / str(number)).mkdir()
        with tarfile.open(folder / names[-1], "w") as tar:
            for file in files:
                with suppress(OSError):
                    tar.add(file, recursive=False)
                if tar.offset > size // layers:
                    break
    config = json.dumps(_config([f"sha256:{sha256(folder / name)}" for name in names]))
    (folder / "config.json").write_text(config)
    manifest = [{"Config": "config.json", "RepoTags": [DOCKER_NAME], "Layers": names}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with tarfile.open(folder / "docker-archive.tar", "w") as tar:
        for name in (*names, "config.json", "manifest.json"):
            tar.add(folder / name, name)
            (folder / name).unlink()


def _files(folder: Path) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(path) / name for name in sorted(names))


DOCKER_NAME = "example.com/real/files:1"
"""Name of the image of real files, in its archive and in an engine."""


def loaded_into_engine(archive: Factory) -> Factory:
    """Load the image of an archive into a Docker engine, as the source of a push."""

    def create(workloads: Workloads) -> Workload:
        saved, engine = workloads.get(archive), workloads.engine()
        engine.docker("load", "--quiet", "--input", saved.sources[0].location)
        return Workload((Source("docker-daemon", DOCKER_NAME, engine=engine.host),), saved.size)

    return create


def pulled_into_engine(archive: Factory) -> Factory:
    """Start a Docker engine without images, as the destination of a pull."""

    def create(workloads: Workloads) -> Workload:
        saved, engine = workloads.get(archive), workloads.engine()
        return Workload((Source("docker-daemon", DOCKER_NAME, engine=engine.host),), saved.size)

    return create


def destinations(workload: Workload, folder: Path) -> Iterable[Source]:
    """Return the destinations of the workload's images in a pull."""
    for number, source in enumerate(workload.sources):
        if source.transport == "docker-daemon":
            yield Source(source.transport, f"example.com/pulled/image-{number}:1", engine=source.engine)
        else:
            yield Source(source.transport, str(folder / f"{number}{'' if source.transport == 'oci' else '.tar'}"))
