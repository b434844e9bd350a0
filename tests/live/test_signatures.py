# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was signed verifies on the other side, and what is about an image is found there by those who look for it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout, newer_debian, programs

from .conftest import Task
from .host_registries import HostRegistry, host_registry
from .upstream_registries import upstream_registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
KIND = "application/vnd.example.sbom"


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


def crane(*arguments: str) -> bytes:
    return subprocess.run([str(layout.BIN / "crane"), *arguments], check=True, capture_output=True).stdout


class Cosign:
    """The program that people sign images with, and a pair of keys.

    Args:
        folder: Where the keys are put.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._run("generate-key-pair")
        # What cosign fetches from the internet otherwise: which logs and authorities are trusted beside the key.
        trusted = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
        (folder / "trusted.json").write_text(json.dumps(trusted))
        (folder / "predicate.json").write_text('{"built": "here"}')

    def sign(self, image: str) -> None:
        """Sign an image and what it lists, with signatures under the tags of old."""
        self._run("sign", "--yes", "--key=cosign.key", "--tlog-upload=false", "--recursive", image)

    def attest(self, image: str) -> None:
        """Sign a statement about an image, which refers to it in a bundle, as signatures do since cosign 3."""
        options = ["--type=custom", "--predicate=predicate.json", "--new-bundle-format"]
        self._run("attest", "--yes", "--key=cosign.key", "--tlog-upload=false", *options, image)

    def verify(self, image: str) -> str:
        """Return the digest of an image that is signed with the key.

        Raises:
            subprocess.CalledProcessError: It is not.
        """
        (signature, *_more) = json.loads(self._run("verify", "--key=cosign.pub", "--insecure-ignore-tlog", image))
        return str(signature["critical"]["image"]["docker-manifest-digest"])

    def verify_attestation(self, image: str) -> str:
        """Return the digest of an image that a statement is about which is signed with the key.

        Raises:
            subprocess.CalledProcessError: There is none.
        """
        options = ["--type=custom", "--new-bundle-format", "--trusted-root=trusted.json"]
        printed = self._run("verify-attestation", "--key=cosign.pub", "--insecure-ignore-tlog", *options, image)
        statement = json.loads(base64.b64decode(json.loads(printed)["payload"]))
        return f"sha256:{statement['subject'][0]['digest']['sha256']}"

    def _run(self, *arguments: str) -> str:
        command = [str(newer_debian.program("cosign")), *arguments]
        environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(self._folder)}
        return subprocess.run(
            command, cwd=self._folder, env=environment, check=True, capture_output=True, text=True
        ).stdout


def push(task: Task, source: Layout, repository: str, referrers: bool = True, **more: Any) -> dict[str, Any]:
    wanted = {"source": f"oci:{source.folder}:app", "name": f"docker.io/{repository}:1", "referrers": referrers}
    result = task("k8scr_push", images=[wanted], **more)
    assert not result.get("failed"), result["msg"]
    return result


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry elsewhere, where images are signed."""
    with upstream_registry("distribution-3", tmp_path / "upstream") as running:
        yield running


@pytest.mark.parametrize("image", ["busybox", "multi"])
def test_what_cosign_signed_verifies_in_the_cluster_and_where_it_goes_from_there(
    task: Task, repository: str, address: str, upstream: HostRegistry, tmp_path: Path, image: str
) -> None:
    ours, theirs = Cosign(tmp_path / "ours"), Cosign(tmp_path / "theirs")
    made = images.ensure(image)
    signed, on_disk = f"{upstream.address}/{repository}", f"oci:{tmp_path}/layout"
    first, second = (f"docker.io/{repository}/{place}:1" for place in ("first", "second"))
    copy = ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci:{made.layout}"]
    subprocess.run([*copy, f"docker://{signed}:1"], check=True)
    ours.sign(f"{signed}@{made.digest}")
    ours.attest(f"{signed}@{made.digest}")
    steps = [
        ("k8scr_push", {"source": f"docker://{signed}:1", "name": first}),
        ("k8scr_pull", {"name": first, "dest": on_disk}),
        ("k8scr_push", {"source": f"{on_disk}:{first}", "name": second}),
    ]
    upstreams = [{"host": upstream.address, "plain_http": True}]

    for module, wanted in steps:
        options = {"upstreams": upstreams} if module == "k8scr_push" else {}
        result = task(module, images=[{**wanted, "referrers": True}], **options)
        assert result["changed"], result.get("msg")

    for name in (first, second):
        there = name.replace("docker.io", address)
        assert (ours.verify(there), ours.verify_attestation(there)) == (made.digest, made.digest)
        with pytest.raises(subprocess.CalledProcessError) as caught:
            theirs.verify(there)
        assert "no matching signatures" in caught.value.stderr


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
