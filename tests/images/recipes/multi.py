# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An index of two platforms."""

from __future__ import annotations

from pathlib import Path

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


def make(folder: Path, scratch: Path) -> None:
    """Make the index as an OCI layout and an OCI archive."""
    build(folder / "layout", scratch)
    skopeo("copy", "--all", f"oci:{folder / 'layout'}:{TAG}", f"oci-archive:{folder / 'oci-archive.tar'}:{TAG}")


def build(layout: Path, scratch: Path) -> None:
    """Compile the program for each platform, and build an index of both images with Podman."""
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
