# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images by name, and how one comes to be there."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from types import ModuleType
from typing import Callable

from . import cache
from .image import Image
from .recipes import artifact, busybox, debian, layers, many, multi, multi_docker, random_blobs, registry
from .tools import Failed, say

# In the order in which they are made: what tests want first, first.
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
"""A recipe is a module with a `SUMMARY`, a `make(folder, scratch)` that leaves the files of
`image.FILES` in the folder, and `SOURCES` where it is made of more files than its own."""


def ensure(name: str) -> Image:
    """The image of that name, made now where it is missing."""
    recipe = _recipe(name)
    return _ensure(name, recipe, recipe.make)


def ensure_random(size: int, layers: int, seed: int = 0) -> Image:
    """An image of that many bytes, which do not compress, in that many layers."""
    name = random_blobs.name(size, layers, seed)
    return _ensure(name, random_blobs, lambda folder, _scratch: random_blobs.make(folder, size, layers, seed))


def find(name: str) -> Image | None:
    """The image of that name, if it has been made."""
    folder = cache.root() / f"{name}-{_key(_recipe(name))}"
    return Image.load(name, folder) if folder.exists() else None


def prune() -> list[str]:
    """Delete what other versions of the recipes made, and every random image."""
    return cache.forget_others({f"{name}-{_key(recipe)}" for name, recipe in RECIPES.items()})


def _recipe(name: str) -> ModuleType:
    if name not in RECIPES:
        raise Failed(f"there is no image named {name}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _key(recipe: ModuleType) -> str:
    # Changes when the recipe does, so that a changed recipe is made anew.
    hasher = hashlib.sha256()
    for source in [Path(str(recipe.__file__)), *getattr(recipe, "SOURCES", [])]:
        hasher.update(source.read_bytes())
    return hasher.hexdigest()[:12]


def _ensure(name: str, recipe: ModuleType, fill: Callable[[Path, Path], None]) -> Image:
    def make(folder: Path) -> None:
        if os.geteuid() != 0:
            raise Failed(f"making {name} takes root: owners of files, mounts and packages are real")
        say(f"making {name}: {recipe.SUMMARY}")
        start = time.monotonic()
        scratch = folder / "scratch"
        scratch.mkdir()
        fill(folder, scratch)
        shutil.rmtree(scratch)
        Image.examine(name, folder).save()
        say(f"made {name} in {time.monotonic() - start:.1f} s")

    return Image.load(name, cache.cached(name, _key(recipe), make))
