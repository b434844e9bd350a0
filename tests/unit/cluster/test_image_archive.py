# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of an image with one program."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import image_archive, packages
from cluster.image_archive import Image


@pytest.fixture
def image(tmp_path: Path) -> Image:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and so on")
    return Image("docker.io/library/program:1", program, command=["serve"])


def test_archive_is_reproducible(image: Image, tmp_path: Path) -> None:
    digests = {image_archive.write(image, tmp_path / name) for name in ("one.tar", "two.tar")}
    assert len(digests) == 1
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_archive_names_blobs_by_digest(image: Image, tmp_path: Path) -> None:
    digest = image_archive.write(image, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        content = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    blobs = {name: blob for name, blob in content.items() if name.startswith("blobs/")}
    assert all(name.endswith(hashlib.sha256(blob).hexdigest()) for name, blob in blobs.items())
    (named,) = json.loads(content["index.json"])["manifests"]
    assert named["digest"] == digest
    assert named["annotations"]["io.containerd.image.name"] == image.reference


def test_image_contains_only_program_and_runs_unprivileged(image: Image, tmp_path: Path) -> None:
    digest = image_archive.write(image, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:

        def blob(digest: str) -> bytes:
            content = archive.extractfile("blobs/sha256/" + digest.partition(":")[2])
            assert content is not None
            return content.read()

        manifest = json.loads(blob(digest))
        config = json.loads(blob(manifest["config"]["digest"]))["config"]
        layer = blob(manifest["layers"][0]["digest"])
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert [(entry.name, entry.mode, entry.uid) for entry in files] == [("program", 0o755, 0)]
    assert config["Entrypoint"] == ["/program"]
    assert config["User"] == "65532:65532"


def test_image_with_shell_has_program_and_commands_in_bin(image: Image, tmp_path: Path) -> None:
    image_archive.write(replace(image, shell=packages.path_of("busybox")), tmp_path / "image.tar")

    with tarfile.open(tmp_path / "image.tar") as archive:
        blobs = [archive.extractfile(entry).read() for entry in archive if "blobs" in entry.name]  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(max(blobs, key=len))) as files:
        found = {entry.name: entry.linkname for entry in files}
    assert found["bin/program"] == ""
    assert {found[f"bin/{command}"] for command in ("sh", "find", "awk", "stat", "mkfifo", "tail")} == {"busybox"}
    config = next(json.loads(blob)["config"] for blob in blobs if b"Entrypoint" in blob[:1000])
    assert config["Entrypoint"] == ["/bin/program"]
