# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was signed verifies on the other side, and what is about an image is found there by those who look for it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout, programs

from .conftest import Task
from .host_registries import HostRegistry, host_registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
KIND = "application/vnd.example.sbom"
SIGNED_AS = "registry.example.com/team/app"


class Layout:
    """An OCI layout of our own with an image, beside which more is put.

    Args:
        folder: Where it shall be.
        image: The image's name among the test images; it is called ``app`` there.
    """

    def __init__(self, folder: Path, image: str) -> None:
        made = images.ensure(image)
        shutil.copytree(made.layout, folder)
        self.folder = folder
        self.digest = made.digest
        self._index = json.loads((folder / "index.json").read_bytes())
        (root,) = self._index["manifests"]
        root["annotations"] = {"org.opencontainers.image.ref.name": "app"}
        self.root = {key: root[key] for key in ("mediaType", "digest", "size")}

    def add(self, content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """Put a blob there; its descriptor comes back."""
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / f"blobs/sha256/{digest}").write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    def add_manifest(self, *layers: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Put a manifest there."""
        config = self.add(b'{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}', CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers), **more}
        return self.add(json.dumps(manifest).encode(), MANIFEST)

    def list(self, descriptor: dict[str, Any], name: str | None = None) -> None:
        """List a manifest among the layout's own."""
        annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        self._index["manifests"].append({**descriptor, **annotations})
        (self.folder / "index.json").write_text(json.dumps(self._index))


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A key as cosign makes them, but not encrypted, and its public half."""
    key, public = folder / f"{name}.key", folder / f"{name}.pub"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", public)
    return key, public


def sign(source: Layout, key: Path) -> None:
    """Sign a layout's image as ``cosign sign --tlog-upload=false`` does (cosign, SIGNATURE_SPEC.md)."""
    payload = source.folder.parent / "payload.json"
    image = {"docker-manifest-digest": source.digest}
    critical = {"identity": {"docker-reference": SIGNED_AS}, "image": image, "type": "cosign container image signature"}
    payload.write_text(json.dumps({"critical": critical, "optional": None}))
    signature = base64.b64encode(openssl("dgst", "-sha256", "-sign", key, payload)).decode()
    kind = "application/vnd.dev.cosign.simplesigning.v1+json"
    annotations = {"dev.cosignproject.cosign/signature": signature}
    signed = source.add_manifest(source.add(payload.read_bytes(), kind, annotations=annotations))
    source.list(signed, f"{source.digest.replace(':', '-')}.sig")


def crane(*arguments: str) -> bytes:
    return subprocess.run([str(layout.BIN / "crane"), *arguments], check=True, capture_output=True).stdout


def is_signed(image: str, public: Path) -> bool:
    """Whether an image in a registry is signed by whom a public key belongs to, as ``cosign verify`` finds out.

    What Debian has of skopeo and podman has that switched off, and cosign itself takes many minutes to build.
    """
    repository, digest = image.rpartition(":")[0], crane("digest", image).decode().strip()
    (layer,) = json.loads(crane("manifest", f"{repository}:{digest.replace(':', '-')}.sig"))["layers"]
    payload, signature = public.with_suffix(".payload"), public.with_suffix(".signature")
    payload.write_bytes(crane("blob", f"{repository}@{layer['digest']}"))
    signature.write_bytes(base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"]))
    critical = json.loads(payload.read_bytes())["critical"]
    assert (critical["identity"], critical["image"]) == (
        {"docker-reference": SIGNED_AS},
        {"docker-manifest-digest": digest},
    )
    command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(signature), str(payload)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def push(task: Task, source: Layout, repository: str, referrers: bool = True, **more: Any) -> dict[str, Any]:
    wanted = {"source": f"oci:{source.folder}:app", "name": f"docker.io/{repository}:1", "referrers": referrers}
    result = task("k8scr_push", images=[wanted], **more)
    assert not result.get("failed"), result["msg"]
    return result


def test_an_image_that_was_signed_in_cosigns_way_verifies_in_the_cluster(
    task: Task, repository: str, address: str, tmp_path: Path
) -> None:
    key, public = make_key(tmp_path, "ours")
    _key, other = make_key(tmp_path, "theirs")
    source = Layout(tmp_path / "layout", "busybox")
    sign(source, key)

    result = push(task, source, repository)

    assert result["images"][0]["digest"] == source.digest
    assert is_signed(f"{address}/{repository}:1", public)
    assert not is_signed(f"{address}/{repository}:1", other)


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry that keeps lists of referrers itself."""
    with host_registry("go-containerregistry with lists of referrers", tmp_path / "registry", "listing") as running:
        yield running


def test_a_registry_that_lists_referrers_lists_what_was_pushed(
    task: Task, repository: str, listing: HostRegistry, tmp_path: Path
) -> None:
    source = Layout(tmp_path / "layout", "busybox")
    about = source.add_manifest(source.add(b"{}", "application/json"), subject=source.root, artifactType=KIND)
    source.list(about)
    # Of a repository that is not there yet this registry says that it knows no such question.
    push(task, source, repository, referrers=False, **listing.options)

    result = push(task, source, repository, **listing.options)
    again = push(task, source, repository, **listing.options)
    wanted = {"name": f"docker.io/{repository}:1", "dest": f"oci:{tmp_path}/back", "referrers": True}
    pulled = task("k8scr_pull", images=[wanted], **listing.options)

    place = f"{listing.address}/{repository}"
    oras = [str(programs.ensure(["oras"])["oras"]), "discover", "--plain-http", "--format=json"]
    oras += ["--distribution-spec=v1.1-referrers-api", f"{place}:1"]
    found = subprocess.run(oras, check=True, capture_output=True).stdout
    assert [each["digest"] for each in json.loads(found)["referrers"]] == [about["digest"]]
    assert [image["digest"] for image in result["images"]] == [source.digest, about["digest"]]
    assert not again["changed"]
    assert [image["digest"] for image in pulled["images"]] == [source.digest, about["digest"]], pulled.get("msg")
    # Where the registry keeps the list, nobody keeps another one under a tag.
    assert crane("ls", place).split() == [b"1"]


def test_attestations_that_an_index_lists_travel_with_it(
    task: Task, repository: str, address: str, tmp_path: Path
) -> None:
    # As buildx writes provenance and SBOMs: in the index, as an image for no platform.
    source = Layout(tmp_path / "layout", "busybox")
    attestation = source.add_manifest(source.add(b"{}", "application/vnd.in-toto+json"))
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": source.digest}
    unknown = {"architecture": "unknown", "os": "unknown"}
    listed = [
        {**source.root, "platform": {"architecture": "amd64", "os": "linux"}},
        {**attestation, "platform": unknown, "annotations": annotations},
    ]
    index = source.add(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode(), INDEX)
    source.list(index, "attested")
    names = {name: f"docker.io/{repository}:{name}" for name in ("whole", "reduced")}
    from_layout = f"oci:{source.folder}:attested"

    result = task(
        "k8scr_push",
        images=[
            {"source": from_layout, "name": names["whole"]},
            {"source": from_layout, "name": names["reduced"], "platforms": ["linux/amd64"]},
        ],
    )

    digests = [crane("digest", f"{address}/{repository}:{name}").decode().strip() for name in names]
    assert digests == [index["digest"], source.digest], result.get("msg")
    crane("validate", "--remote", f"{address}/{repository}@{attestation['digest']}")
