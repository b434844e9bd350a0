# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An index of two platforms, with the OCI's media types and with Docker's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..layout import Layout
from ..tools import Podman, require, run, skopeo

SUMMARY = "a static Go program for linux/amd64 and linux/arm64"
PROGRAM = Path(__file__).resolve().parent.parent / "waiter"
SOURCES = [PROGRAM / "main.go", PROGRAM / "go.mod"]
PLATFORMS = ("amd64", "arm64")
VERSION = "1.2.3"
TAG = f"example.com/team/waiter:{VERSION}"
CONTAINERFILE = """\
FROM scratch
ARG TARGETARCH
COPY waiter-$TARGETARCH /waiter
ENTRYPOINT ["/waiter"]
"""


def make(name: str, folder: Path, scratch: Path) -> None:
    """Make `multi`, or `multi-docker`: the same images under a Docker manifest list."""
    with_docker_types = name == "multi-docker"
    layout = (scratch if with_docker_types else folder) / "layout"
    _build(layout, scratch)
    if with_docker_types:
        _convert(layout, folder / "layout", scratch / "converted")
    else:
        skopeo("copy", "--all", f"oci:{layout}:{TAG}", f"oci-archive:{folder / 'oci-archive.tar'}:{TAG}")


def _build(layout: Path, scratch: Path) -> None:
    context = scratch / "context"
    context.mkdir()
    (context / "Containerfile").write_text(CONTAINERFILE)
    require("go")
    for architecture in PLATFORMS:
        run(
            *("go", "build", "-trimpath", "-ldflags", f"-s -w -X main.version={VERSION}"),
            *("-o", context / f"waiter-{architecture}", "."),
            cwd=PROGRAM,
            env={"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": architecture, "GOFLAGS": "-buildvcs=false"},
        )
    podman = Podman(scratch / "podman")
    platforms = ",".join(f"linux/{architecture}" for architecture in PLATFORMS)
    podman("build", "--platform", platforms, "--manifest", TAG, context)
    podman("manifest", "push", "--all", TAG, f"oci:{layout}:{TAG}")


def _convert(source: Path, destination: Path, plain: Path) -> None:
    # skopeo writes only the OCI's media types into a layout, but any into its own plain folder:
    # a file for each blob, named by its digest, and `manifest.json`, the list. What it made
    # there moves into the layout byte for byte.
    skopeo("copy", "--all", "--format", "v2s2", f"oci:{source}:{TAG}", f"dir:{plain}")
    layout = Layout(destination)
    layout.create()
    manifest_list: dict[str, Any] = json.loads((plain / "manifest.json").read_bytes())
    layout.tag(layout.adopt(plain / "manifest.json", manifest_list["mediaType"]), TAG)
    for file in plain.iterdir():
        if file.name not in ("manifest.json", "version"):
            shutil.copyfile(file, layout.blobs / file.name.partition(".")[0])
