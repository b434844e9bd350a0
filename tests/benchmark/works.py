# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is delivered."""

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
from images.cache import cached
from images.layout import CONFIG, LAYER, MANIFEST, Descriptor, Layout, sha256
from live.engines import Engine, docker_engine
from live.layout_writer import LayoutWriter

MEBIBYTE = 1 << 20
FILES = Path("/usr")
"""Where real files come from."""


@dataclass(frozen=True)
class Source:
    """One image in one form, as a task or skopeo names it; or where one is to be written.

    Attributes:
        transport: As in ``oci``.
        place: A folder, a file, or a name in an engine.
        digest: The manifest's, where it has one.
        engine: Where the engine listens that has it, or is to have it.
    """

    transport: str
    place: str
    digest: str = ""
    engine: str = ""

    @property
    def reference(self) -> str:
        """Its whole name."""
        return f"{self.transport}:{self.place}"


@dataclass(frozen=True)
class Work:
    """What is delivered in one go.

    Attributes:
        sources: The images.
        size: Their bytes, with what several of them share counted in each.
    """

    sources: tuple[Source, ...]
    size: int

    @property
    def engine(self) -> str:
        """Where the engine listens that has the images, or is to have them."""
        return self.sources[0].engine


Make = Callable[["Works"], Work]


class Works:
    """Makes what is delivered, each once.

    Args:
        folder: Where there is room for it.
        scale: What sizes are multiplied with.
        stack: Ends the engines that were started.
    """

    def __init__(self, folder: Path, scale: float, stack: ExitStack) -> None:
        self._folder = folder
        self._scale = scale
        self._stack = stack
        self._make = cache(lambda make: make(self))

    def get(self, make: Make) -> Work:
        """What this makes, made now where it is missing."""
        work: Work = self._make(make)
        return work

    def sized(self, mebibytes: float) -> int:
        """Bytes, scaled."""
        return max(int(mebibytes * self._scale * MEBIBYTE), 1 << 16)

    def folder(self, name: str) -> Path:
        """A folder that is not there yet."""
        return self._folder / name

    def engine(self) -> Engine:
        """An engine of Docker's that has no image yet."""
        return self._stack.enter_context(docker_engine())


def random_image(mebibytes: int, layers: int) -> Make:
    """An image of bytes that do not compress."""

    @cache
    def make(works: Works) -> Work:
        image = images.ensure_random(works.sized(mebibytes), layers)
        return Work((Source("oci", str(image.layout), image.digest),), works.sized(mebibytes))

    return make


def zeros(mebibytes: float, layers: int, count: int = 1) -> Make:
    """Images whose layers are zeros, which take no room on the disk, in one layout if there are several."""

    def make(works: Works) -> Work:
        size = works.sized(mebibytes)
        writer = LayoutWriter(works.folder(f"zeros-{mebibytes}-{layers}-{count}"))
        names = [f"example.com/zeros/image-{number}:1" for number in range(count)]
        for number, name in enumerate(names):
            writer.add(name, layers, size // layers + number * layers)
        writer.finish()
        places = [f"{writer.folder}:{name}" if count > 1 else str(writer.folder) for name in names]
        digests = [str(entry["digest"]) for entry in writer.entries]
        return Work(tuple(Source("oci", *pair) for pair in zip(places, digests)), size * count)

    return make


def changed_layer(mebibytes: int, layers: int) -> tuple[Make, Make]:
    """An image, and the same with its last layer changed."""
    before = random_image(mebibytes, layers)

    def after(works: Works) -> Work:
        source = works.get(before).sources[0]
        old = Layout(Path(source.place))
        kept = old.read(source.digest)["layers"][:-1]
        new = Layout(works.folder(f"changed-{mebibytes}-{layers}"))
        new.create()
        for layer in kept:
            name = layer["digest"].partition(":")[2]
            os.link(old.blobs / name, new.blobs / name)
        digest = _image(new, [*kept, _random_layer(new, works.sized(mebibytes / layers), "changed")])
        return Work((Source("oci", str(new.folder), digest),), works.sized(mebibytes))

    return before, after


def many_images(count: int, mebibytes: float) -> Make:
    """Images of which a part is common to all, and another to ten at a time; each in a layout of its own."""

    def make(works: Works) -> Work:
        size = works.sized(mebibytes)
        shared = Layout(works.folder(f"shared-{count}"))
        shared.create()
        base = _random_layer(shared, size * 2 // 5, "base")
        middle = [_random_layer(shared, size * 2 // 5, f"middle {number}") for number in range(-(-count // 10))]
        sources = []
        for number in range(count):
            one = Layout(works.folder(f"one-of-{count}-{number}"))
            one.create()
            layers = [base, middle[number // 10]]
            for layer in layers:
                name = layer["digest"].partition(":")[2]
                os.link(shared.blobs / name, one.blobs / name)
            digest = _image(one, [*layers, _random_layer(one, size // 5, f"own {number}")])
            sources.append(Source("oci", str(one.folder), digest))
        return Work(tuple(sources), size * count)

    return make


def _random_layer(layout: Layout, size: int, seed: str) -> Descriptor:
    return layout.stream([random.Random(seed).randbytes(size)], LAYER)  # noqa: S311 - nothing secret


def _image(layout: Layout, layers: list[Descriptor]) -> str:
    """Tag an image of these layers in the layout; its digest comes back."""
    config = layout.document(_config([layer["digest"] for layer in layers]), CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    described = layout.document(manifest, MANIFEST)
    layout.tag(described, "example.com/made:1")
    return str(described["digest"])


def _config(layers: list[str]) -> dict[str, Any]:
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": layers}}


def real_files(megabytes: int, layers: int = 5) -> Make:
    """What ``docker save`` writes, of files of this machine."""

    def make(works: Works) -> Work:
        size = works.sized(megabytes * 1e6 / MEBIBYTE)
        folder = cached(f"files-{size}", f"{layers}", lambda folder: _save(folder, size, layers))
        archive = folder / "docker-archive.tar"
        return Work((Source("docker-archive", str(archive)),), archive.stat().st_size)

    return make


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
"""The name of the image of real files, in its archive and in an engine that loaded it."""


def in_an_engine(archive: Make) -> Make:
    """The image of an archive, in an engine of Docker's that has loaded it."""

    def make(works: Works) -> Work:
        saved, engine = works.get(archive), works.engine()
        engine.docker("load", "--quiet", "--input", saved.sources[0].place)
        return Work((Source("docker-daemon", DOCKER_NAME, engine=engine.host),), saved.size)

    return make


def for_an_engine(archive: Make) -> Make:
    """The same in an engine that has nothing yet, to pull into."""

    def make(works: Works) -> Work:
        saved, engine = works.get(archive), works.engine()
        return Work((Source("docker-daemon", DOCKER_NAME, engine=engine.host),), saved.size)

    return make


def destinations(work: Work, folder: Path) -> Iterable[Source]:
    """Where the images of a work are written to when they are pulled."""
    for number, source in enumerate(work.sources):
        if source.transport == "docker-daemon":
            yield Source(source.transport, f"example.com/pulled/image-{number}:1", engine=source.engine)
        else:
            yield Source(source.transport, str(folder / f"{number}{'' if source.transport == 'oci' else '.tar'}"))
