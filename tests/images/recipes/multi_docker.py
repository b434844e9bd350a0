# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The index of two platforms with Docker media types, which are still common in registries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..layout import Layout
from ..tools import skopeo
from . import multi

SUMMARY = "the same program under a Docker manifest list"
SOURCES = [Path(multi.__file__), *multi.SOURCES]


def make(folder: Path, scratch: Path) -> None:
    """Convert the index with skopeo and copy the result to an OCI layout.

    skopeo writes only OCI media types to a layout. A folder with the transport `dir` can have other media types: it
    has a file for each blob, named by its digest, and the manifest list in `manifest.json`.
    """
    plain = scratch / "plain"
    multi.build(scratch / "layout", scratch)
    skopeo("copy", "--all", "--format", "v2s2", f"oci:{scratch / 'layout'}:{multi.TAG}", f"dir:{plain}")
    layout = Layout(folder / "layout")
    layout.create()
    manifest_list: dict[str, Any] = json.loads((plain / "manifest.json").read_bytes())
    layout.tag(layout.add_file(plain / "manifest.json", manifest_list["mediaType"]), multi.TAG)
    for file in plain.iterdir():
        if file.name not in ("manifest.json", "version"):
            shutil.copyfile(file, layout.blobs / file.name.partition(".")[0])
