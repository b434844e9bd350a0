# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of the campaign, which share layers: their names, their content and their layouts on the client's disk."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.media_types import MANIFEST
from images.layout import Layout
from images.sizes import KIB

from ..sources import Layer, Source, write

HOST = "docker.io"
"""The registry in the images' names."""
IMAGES_PER_REPOSITORY = 5
_SHARED_LAYERS = 16
_EMPTY = "application/vnd.oci.empty.v1+json"
_SBOM = "application/vnd.example.sbom"


@dataclass(frozen=True)
class Content:
    """The content of an image, which depends only on the seed.

    Attributes:
        layers: The layers; images share some of them.
        platforms: Architectures of the image; an index if there are several.
        has_referrer: Whether an SBOM refers to the image.
    """

    layers: tuple[Layer, ...]
    platforms: tuple[str, ...] = ("amd64",)
    has_referrer: bool = False


@dataclass(frozen=True)
class Image:
    """An image of the campaign.

    Attributes:
        number: Number of the image.
        repository: Repository of the image.
        tags: Tags of the image; none if it is pushed by digest.
        content: Content of the image.
    """

    number: int
    repository: str
    tags: tuple[str, ...]
    content: Content


def draw_images(seed: int, count: int) -> tuple[Image, ...]:
    """Draw the images of a campaign: five kinds in each repository.

    The kinds are an image with one tag, an index with two tags, an image whose own layer is the largest, an image
    without a tag, and an image with a referrer.

    Args:
        seed: Seed of the campaign.
        count: Number of images.
    """
    draw = random.Random(f"{seed}/images")  # noqa: S311 - nothing secret
    shared = shared_layers(seed)
    return tuple(_draw_image(draw, seed, number, shared) for number in range(count))


def shared_layers(seed: int) -> tuple[Layer, ...]:
    """Return the layers that the images share."""
    draw = random.Random(f"{seed}/layers")  # noqa: S311 - nothing secret
    return tuple(Layer(f"{seed}/shared/{index}", draw.randrange(1, 128 * KIB)) for index in range(_SHARED_LAYERS))


def _draw_image(draw: random.Random, seed: int, number: int, shared: Sequence[Layer]) -> Image:
    row, kind = divmod(number, IMAGES_PER_REPOSITORY)
    own = Layer(f"{seed}/own/{number}", draw.randrange(1, (64 if kind == 2 else 8) * KIB))
    layers = (*draw.sample(shared, draw.randrange(1, 4)), own)
    tags = ((f"1.{kind}.0",), (f"1.{kind}.0", f"1.{kind}"), (f"1.{kind}.0",), (), (f"1.{kind}.0",))[kind]
    platforms = ("amd64", "arm64") if kind == 1 else ("amd64",)
    return Image(number, f"chaos/app-{row:02}", tags, Content(layers, platforms, has_referrer=kind == 4))


class Library:
    """The layouts of images on the client's disk.

    Args:
        folder: Folder of the layouts; it is created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: dict[Content, Source] = {}
        folder.mkdir(parents=True)

    def source(self, content: Content) -> Source:
        """Return the layout of an image, which is written at the first call."""
        if content not in self._sources:
            folder = self._folder / str(len(self._sources))
            source = write(folder, "oci", content.layers, content.platforms)
            if content.has_referrer:
                _add_referrer(Layout(folder / "layout"))
            self._sources[content] = source
        return self._sources[content]

    def digest(self, content: Content) -> str:
        """Return the digest of an image."""
        return self.source(content).identity

    def references(self, image: Image) -> list[str]:
        """Return the names under which an image is pushed, one for each tag."""
        if not image.tags:
            return [f"{HOST}/{image.repository}@{self.digest(image.content)}"]
        return [f"{HOST}/{image.repository}:{tag}" for tag in image.tags]


@dataclass(frozen=True)
class Entry:
    """An entry of the option ``images`` of a push."""

    name: str
    content: Content

    def option(self, library: Library) -> dict[str, object]:
        """Return the entry as the module expects it."""
        # The layout of an image with a referrer has two manifests. The first one is the image.
        number = "@0" if self.content.has_referrer else ""
        source = library.source(self.content).location + (f":{number}" if number else "")
        return {"source": source, "name": self.name, "referrers": self.content.has_referrer}


def _add_referrer(layout: Layout) -> None:
    """Add an SBOM that refers to the layout's image."""
    (subject,) = layout.tagged
    config = layout.document({}, _EMPTY)
    layer = layout.document({"describes": subject["digest"]}, "application/json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": _SBOM,
        "config": config,
        "layers": [layer],
        "subject": {name: subject[name] for name in ("mediaType", "digest", "size")},
    }
    entry = layout.document(manifest, MANIFEST)
    index = json.loads((layout.folder / "index.json").read_text())
    index["manifests"].append({**entry, "artifactType": _SBOM})
    (layout.folder / "index.json").write_text(json.dumps(index))
