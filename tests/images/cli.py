# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: make, list, verify, prune."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Callable

from cluster.errors import log

from . import catalogue
from .image import Image
from .tools import Failed
from .verify import verify

UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status, which is 1 if an image failed."""
    options = _parser().parse_args(arguments)
    if options.list:
        _list()
        return 0
    if options.prune:
        for folder in catalogue.prune():
            print(f"deleted {folder}")
        return 0
    made: dict[str, Image] = {}
    failed = False
    for ensure in _wanted(options):
        start = time.monotonic()
        try:
            image = ensure()
            if options.verify:
                verify(image)
        except Failed as error:
            log(str(error))
            failed = True
            continue
        made[image.name] = image
        if not options.json:
            print(_line(image, time.monotonic() - start), flush=True)
    if options.json:
        print(json.dumps({name: image.as_dict() for name, image in made.items()}, indent=2))
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 tests/images", description="Make images for the tests.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="the name of an image, or `random` (default: all but random)"
    )
    parser.add_argument("--json", action="store_true", help="print the images as JSON")
    parser.add_argument("--list", action="store_true", help="list the images without making them")
    parser.add_argument(
        "--verify", action="store_true", help="verify the images with skopeo, crane and the checksum of each blob"
    )
    parser.add_argument("--prune", action="store_true", help="delete random images and images of older recipes")
    group = parser.add_argument_group("random", "incompressible bytes in an OCI layout")
    group.add_argument("--size", type=_bytes, default="1GiB", help="of all layers together, for example 1GiB or 100MB")
    group.add_argument("--layers", type=int, default=8)
    group.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    return parser


def _wanted(options: argparse.Namespace) -> Iterator[Callable[[], Image]]:
    for name in options.names or catalogue.RECIPES:
        if name == "random":
            yield partial(catalogue.ensure_random, options.size, options.layers, options.seed)
        else:
            yield partial(catalogue.ensure, name)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+) ?([A-Za-z]*)", text)
    if not match or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"invalid size {text}: use for example 1GiB, 100MB or 4096")
    return int(match[1]) * UNITS[match[2]]


def _list() -> None:
    for name, recipe in catalogue.RECIPES.items():
        image = catalogue.find(name)
        print(f"{name:13} {recipe.SUMMARY}")
        for line in [image.reference(form) for form in image.sizes] if image else ["missing"]:
            print(f"{'':13} {line}")


def _line(image: Image, seconds: float) -> str:
    sizes = ", ".join(f"{form} {size / 1e6:.1f} MB" for form, size in image.sizes.items())
    tags = " and ".join(tag.name for tag in image.tags)
    return f"{image.name:13} {tags} ({sizes}) {seconds:.1f} s"
