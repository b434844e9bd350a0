# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An OCI artifact, the format in which registries store charts, policies and signatures."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.media_types import MANIFEST

from ..layout import Layout

SUMMARY = "an OCI artifact with the empty config and two files"
TAG = "example.com/team/policies:1.0"
EMPTY = "application/vnd.oci.empty.v1+json"
TYPE = "application/vnd.example.policies.v1"
FILES = {
    "policy.json": ("application/json", json.dumps({"allow": ["team/*"]}).encode()),
    "README.md": ("text/markdown", b"# Policies\nWho may run what.\n"),
}


def make(folder: Path, _scratch: Path) -> None:
    """Write the artifact according to the guidelines of the image specification, without a tool."""
    layout = Layout(folder / "layout")
    layout.create()
    files = [
        {**layout.stream([content], media_type), "annotations": {"org.opencontainers.image.title": title}}
        for title, (media_type, content) in FILES.items()
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": TYPE,
        "config": {**layout.stream([b"{}"], EMPTY), "data": "e30="},
        "layers": files,
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    }
    layout.tag({**layout.document(manifest, MANIFEST), "artifactType": TYPE}, TAG)
