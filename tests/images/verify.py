# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies images with other tools."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.media_types import INDEX, MANIFEST
from cluster.waiting import free_port, wait_for_port

from .image import Image, Tag
from .layout import Layout, sha256
from .tools import Failed, cluster_program, run, skopeo


def verify(image: Image) -> None:
    """Verify an image with skopeo, crane and the checksum of each blob.

    Raises:
        Failed: A tool rejects the image, or reads another digest.
    """
    if "oci" in image.sizes:
        _check_blobs(image)
        _check_with_crane(image)
    for tag in image.tags:
        for form in image.sizes:
            if _skopeo_reads(tag):
                _check_with_skopeo(image, tag, form)
    if "docker-archive" in image.sizes and len(image.tags) == 1:
        # crane cannot select one of several images.
        run(cluster_program("crane"), "validate", "--tarball", image.docker_archive)


def _skopeo_reads(tag: Tag) -> bool:
    # skopeo copies only images, and in a layout it supports only OCI media types.
    return bool(tag.platforms) and tag.media_type in (INDEX, MANIFEST, None)


def _check_blobs(image: Image) -> None:
    for blob in Layout(image.layout).blobs.iterdir():
        if sha256(blob) != blob.name:
            raise Failed(f"{image.name}: the content of blob {blob.name} does not match its digest")


def _check_with_skopeo(image: Image, tag: Tag, form: str) -> None:
    # A copy reads all layers and verifies their digests, and the diff IDs of layers that it decompresses.
    reference = image.reference(form, tag.name)
    with tempfile.TemporaryDirectory() as copy:
        skopeo("copy", *(["--all"] if tag.digest else []), reference, f"dir:{copy}")
        found = "sha256:" + sha256(Path(copy) / "manifest.json")
        content = json.loads((Path(copy) / "manifest.json").read_bytes())
    if form != "docker-archive" and found != tag.digest:
        raise Failed(f"{reference}: skopeo reads {found}, not {tag.digest}")
    if tag.config_digest and content["config"]["digest"] != tag.config_digest:
        raise Failed(f"{reference}: skopeo reads the config {content['config']['digest']}, not {tag.config_digest}")


def _check_with_crane(image: Image) -> None:
    crane = cluster_program("crane")
    with _registry(crane) as host:
        target = f"{host}/verified/{image.name}:latest"
        run(crane, "push", image.layout, target)
        if run(crane, "digest", target).strip() != image.digest:
            raise Failed(f"{image.name}: crane pushes a different digest than {image.digest}")
        if image.platforms:
            run(crane, "validate", "--remote", target)


@contextlib.contextmanager
def _registry(crane: Path) -> Iterator[str]:
    port = free_port()
    host = f"127.0.0.1:{port}"
    command = [str(crane), "registry", "serve", "--address", host]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_port(port, "crane")
            yield host
        finally:
            server.terminate()
