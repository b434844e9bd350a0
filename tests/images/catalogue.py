# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images by name, and the functions that make, find and delete them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from types import ModuleType
from typing import Callable

from cluster.errors import log

from . import cache
from .image import Image
from .recipes import artifact, busybox, debian, layers, many, multi, multi_docker, random_blobs, registry
from .tools import Failed

# In the order in which they are made; tests need the first ones first.
RECIPES: dict[str, ModuleType] = {
    "busybox": busybox,
    "multi": multi,
    "multi-docker": multi_docker,
    "artifact": artifact,
    "layers": layers,
    "many": many,
    "debian": debian,
    "registry": registry,
}
"""A recipe is a module with a `SUMMARY` and a function `make(folder, scratch)`, which writes files of `image.FILES` to
the folder. `SOURCES` lists further source files of the recipe."""


def ensure(name: str) -> Image:
    """Return the image with this name, making it if it is missing."""
    recipe = _recipe(name)
    return _ensure(name, recipe, recipe.make)


def ensure_random(size: int, layers: int, seed: int = 0) -> Image:
    """Return an image with this number of incompressible bytes and of layers, making it if it is missing."""
    name = random_blobs.name(size, layers, seed)
    return _ensure(name, random_blobs, lambda folder, _scratch: random_blobs.make(folder, size, layers, seed))


def find(name: str) -> Image | None:
    """Return the image with this name, or None if it is missing."""
    folder = cache.root() / f"{name}-{_key(_recipe(name))}"
    return Image.load(name, folder) if folder.exists() else None


def prune() -> list[str]:
    """Delete images of other versions of the recipes and all random images; return the names of their folders."""
    return cache.delete_others({f"{name}-{_key(recipe)}" for name, recipe in RECIPES.items()})


def _recipe(name: str) -> ModuleType:
    if name not in RECIPES:
        raise Failed(f"unknown image {name}; the images are {', '.join(RECIPES)}")
    return RECIPES[name]


def _key(recipe: ModuleType) -> str:
    # The key changes with the recipe, so that images of changed recipes are made again.
    hasher = hashlib.sha256()
    for source in [Path(str(recipe.__file__)), *getattr(recipe, "SOURCES", [])]:
        hasher.update(source.read_bytes())
    return hasher.hexdigest()[:12]


def _ensure(name: str, recipe: ModuleType, fill: Callable[[Path, Path], None]) -> Image:
    def make(folder: Path) -> None:
        if os.geteuid() != 0:
            raise Failed(f"making {name} needs root: the recipes set file owners, mount and install packages")
        log(f"making {name}: {recipe.SUMMARY}")
        start = time.monotonic()
        scratch = folder / "scratch"
        scratch.mkdir()
        fill(folder, scratch)
        shutil.rmtree(scratch)
        Image.examine(name, folder).save()
        log(f"made {name} in {time.monotonic() - start:.1f} s")

    return Image.load(name, cache.cached(name, _key(recipe), make))
