# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: make, list, verify, prune."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence

from . import catalogue
from .image import Image
from .tools import Failed, say

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit status is how many images could not be had."""
    options = _parser().parse_args(arguments)
    failures = 0
    if options.prune:
        for name in catalogue.prune():
            print(f"deleted {name}")
        return 0
    if options.list:
        for name in options.names:
            print(f"{name:14} {catalogue.RECIPES[name].SUMMARY}" if name != "random" else "")
        return 0
    made: dict[str, Image] = {}
    for name in options.names:
        start = time.monotonic()
        try:
            image = _random(options) if name == "random" else catalogue.ensure(name)
        except Failed as problem:
            say(f"{name}: {problem}")
            failures += 1
            continue
        made[image.name] = image
        if not options.json:
            print(_line(image, time.monotonic() - start), flush=True)
    if options.json:
        print(json.dumps({name: image.as_dict() for name, image in made.items()}, indent=2))
    return failures
