# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image with many tiny layers, whose cost is the requests and not the bytes."""

from __future__ import annotations

from pathlib import Path

from ..tools import Umoci

SUMMARY = "30 layers of one small file each"
COUNT = 30
TAG = f"example.com/deep/layers:{COUNT}"


def make(folder: Path, scratch: Path) -> None:
    """Make an OCI layout with one file in each layer."""
    image = Umoci(folder / "layout", TAG, scratch / "bundle")
    for number in range(1, COUNT + 1):
        file = scratch / f"{number}.txt"
        file.write_text(f"layer {number} of {COUNT}\n")
        image.insert(file, f"/layers/{file.name}")
    image.finish()
