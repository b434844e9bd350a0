# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures verify after a transfer, and other clients find the referrers of a transferred image."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import audit, layout, newer_debian, programs
from cluster.media_types import CONFIG, INDEX, MANIFEST
from images.layout import REFERENCE, Descriptor, Layout

from .conftest import Task
from .host_registries import HostRegistry, host_registry
from .image_tasks import pull_entry, push_entry
from .upstream_registries import upstream_registry

SBOM = "application/vnd.example.sbom"


class CopiedLayout(Layout):
    """A copy of a test image's OCI layout, to which tests add manifests and blobs.

    Args:
        folder: The folder for the copy.
        image: The name of the test image; its tag in the copy is ``app``.
    """

    def __init__(self, folder: Path, image: str) -> None:
        super().__init__(folder)
        original = images.ensure(image)
        shutil.copytree(original.layout, folder)
        self.digest = original.digest
        (root,) = self.tagged
        self.root = {key: root[key] for key in ("mediaType", "digest", "size")}
        self.tag(self.root, "app")

    def add_manifest(self, *layers: Descriptor, **more: Any) -> Descriptor:
        """Add a manifest and return its descriptor."""
        config = self.stream([b'{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}'], CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers), **more}
        return self.document(manifest, MANIFEST)

    def list(self, descriptor: Descriptor, name: str | None = None) -> None:
        """Add a manifest to the layout's index."""
        annotations = {"annotations": {REFERENCE: name}} if name else {}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*self.tagged, {**descriptor, **annotations}]}
        (self.folder / "index.json").write_text(json.dumps(index))


def crane(*arguments: str) -> bytes:
    return subprocess.run([str(layout.BIN / "crane"), *arguments], check=True, capture_output=True).stdout


class Cosign:
    """cosign with a key pair.

    Args:
        folder: The folder for the keys.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._run("generate-key-pair")
        # Without this file, cosign downloads the trusted logs and authorities from the internet.
        trusted = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
        (folder / "trusted.json").write_text(json.dumps(trusted))
        (folder / "predicate.json").write_text('{"built": "here"}')

    def sign(self, image: str) -> None:
        """Sign an image or an index with its manifests, with signatures under tags, as before cosign 3."""
        self._run("sign", "--yes", "--key=cosign.key", "--tlog-upload=false", "--recursive", image)

    def attest(self, image: str) -> None:
        """Sign a statement about an image and attach it as a referrer in a bundle, as signatures since cosign 3."""
        options = ["--type=custom", "--predicate=predicate.json", "--new-bundle-format"]
        self._run("attest", "--yes", "--key=cosign.key", "--tlog-upload=false", *options, image)

    def save(self, image: str, folder: Path) -> None:
        """Save an image and its signatures in an OCI layout."""
        self._run("save", f"--dir={folder}", image)

    def verify(self, image: str) -> str:
        """Return the digest of an image whose signature matches the key.

        Raises:
            subprocess.CalledProcessError: No signature of the image matches.
        """
        (signature, *_more) = json.loads(self._run("verify", "--key=cosign.pub", "--insecure-ignore-tlog", image))
        return str(signature["critical"]["image"]["docker-manifest-digest"])

    def verify_attestation(self, image: str) -> str:
        """Return the digest of an image from its statement, whose signature matches the key.

        Raises:
            subprocess.CalledProcessError: No statement about the image matches.
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


def push(task: Task, source: CopiedLayout, repository: str, referrers: bool = True, **options: Any) -> dict[str, Any]:
    """Push the image of a layout, by default with its referrers, and return the result."""
    entry = push_entry(f"oci:{source.folder}:app", repository, referrers=referrers)
    result = task("k8scr_push", images=[entry], **options)
    assert not result.get("failed"), result["msg"]
    return result


def discover(oras: str, *location: str) -> list[str]:
    """Return the digests of the referrers that oras finds."""
    found = subprocess.run([oras, "discover", "--format=json", *location], check=True, capture_output=True).stdout
    return [each["digest"] for each in json.loads(found)["referrers"]]


def requests_since(position: int) -> list[str]:
    """Return the requests to registries through the API server since a position in the audit log."""
    audit.settle()
    return sorted(f"{event['verb']} {event['requestURI']}" for event in audit.proxy_events(position))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[HostRegistry]:
    """An upstream registry, in which cosign signs images."""
    with upstream_registry("distribution-3", tmp_path / "upstream") as running:
        yield running


@pytest.mark.parametrize("image", ["busybox", "multi"])
def test_cosign_verifies_signatures_after_push_pull_and_push(
    task: Task, repository: str, address: str, upstream: HostRegistry, tmp_path: Path, image: str
) -> None:
    signer, other = Cosign(tmp_path / "signer"), Cosign(tmp_path / "other")
    original = images.ensure(image)
    signed, pulled = f"{upstream.address}/{repository}", f"oci:{tmp_path}/layout"
    copy = ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci:{original.layout}"]
    subprocess.run([*copy, f"docker://{signed}:1"], check=True)
    signer.sign(f"{signed}@{original.digest}")
    signer.attest(f"{signed}@{original.digest}")
    first, second = f"{repository}/first", f"{repository}/second"
    steps = [
        ("k8scr_push", push_entry(f"docker://{signed}:1", first)),
        ("k8scr_pull", pull_entry(first, pulled)),
        ("k8scr_push", push_entry(f"{pulled}:docker.io/{first}:1", second)),
    ]
    upstreams = [{"host": upstream.address, "plain_http": True}]

    for module, entry in steps:
        options = {"upstreams": upstreams} if module == "k8scr_push" else {}
        result = task(module, images=[entry], **options)
        assert result["changed"], result.get("msg")

    for target in (f"{address}/{first}:1", f"{address}/{second}:1"):
        assert (signer.verify(target), signer.verify_attestation(target)) == (original.digest, original.digest)
        with pytest.raises(subprocess.CalledProcessError) as caught:
            other.verify(target)
        assert "no matching signatures" in caught.value.stderr


@pytest.mark.parametrize("image", ["busybox", "multi"])
def test_cosign_verifies_signature_that_cosign_saved(
    task: Task, repository: str, address: str, upstream: HostRegistry, tmp_path: Path, image: str
) -> None:
    signer = Cosign(tmp_path / "signer")
    original = images.ensure(image)
    signed = f"{upstream.address}/{repository}"
    copy = ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci:{original.layout}"]
    subprocess.run([*copy, f"docker://{signed}:1"], check=True)
    signer.sign(f"{signed}@{original.digest}")
    signer.save(f"{signed}:1", tmp_path / "saved")
    entry = push_entry(f"oci:{tmp_path}/saved", repository)

    alone = task("k8scr_push", images=[{**entry, "referrers": False}])
    result = task("k8scr_push", images=[{**entry, "referrers": True}])

    assert [each["digest"] for each in alone["images"]] == [original.digest], alone.get("msg")
    assert result["changed"], result.get("msg")
    assert signer.verify(f"{address}/{repository}:1") == original.digest


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry with the referrers API."""
    with host_registry("go-containerregistry with referrers", tmp_path / "registry", "listing") as running:
        yield running


def test_registry_with_referrers_api_lists_pushed_referrers(
    task: Task, repository: str, listing: HostRegistry, tmp_path: Path
) -> None:
    source = CopiedLayout(tmp_path / "layout", "busybox")
    sbom = source.add_manifest(source.document({}, "application/json"), subject=source.root, artifactType=SBOM)
    source.list(sbom)
    # For a missing repository, this registry responds as if it did not support the referrers API.
    push(task, source, repository, referrers=False, **listing.options)

    result = push(task, source, repository, **listing.options)
    again = push(task, source, repository, **listing.options)
    entry = pull_entry(repository, f"oci:{tmp_path}/back", referrers=True)
    pulled = task("k8scr_pull", images=[entry], **listing.options)

    target = f"{listing.address}/{repository}"
    oras = [str(programs.ensure(["oras"])["oras"]), "discover", "--plain-http", "--format=json"]
    oras += ["--distribution-spec=v1.1-referrers-api", f"{target}:1"]
    found = subprocess.run(oras, check=True, capture_output=True).stdout
    assert [each["digest"] for each in json.loads(found)["referrers"]] == [sbom["digest"]]
    assert [image["digest"] for image in result["images"]] == [source.digest, sbom["digest"]]
    assert not again["changed"]
    assert [image["digest"] for image in pulled["images"]] == [source.digest, sbom["digest"]], pulled.get("msg")
    # With the referrers API, the push creates no list under a tag.
    assert crane("ls", target).split() == [b"1"]


@pytest.mark.parametrize("kind", ["distribution-3", "go-containerregistry with referrers"])
def test_new_image_is_copied_with_its_referrers_and_unchanged_image_without_requests_for_them(
    task: Task, repository: str, address: str, tmp_path: Path, kind: str
) -> None:
    original, oras = images.ensure("busybox"), str(programs.ensure(["oras"])["oras"])
    (tmp_path / "sbom.json").write_text("{}")
    with upstream_registry(kind, tmp_path / "upstream") as upstream:
        there = f"{upstream.address}/{repository}:1"
        crane("push", "--insecure", str(original.layout), there)
        attach = [oras, "attach", "--plain-http", "--disable-path-validation", f"--artifact-type={SBOM}", there]
        subprocess.run([*attach, f"{tmp_path}/sbom.json"], check=True, capture_output=True)
        attached = discover(oras, "--plain-http", there)
        entry = push_entry(f"docker://{there}", repository)
        options = {"upstreams": [{"host": upstream.address, "plain_http": True}]}

        planned = task("k8scr_push", images=[entry], check_mode=True, **options)
        pushed = task("k8scr_push", images=[entry], **options)
        position = audit.position()
        again = task("k8scr_push", images=[entry], **options)
        requests = requests_since(position)
        position = audit.position()
        task("k8scr_push", images=[{**entry, "referrers": False}], **options)
        without = requests_since(position)
    pulled = task("k8scr_pull", images=[pull_entry(repository, f"oci:{tmp_path}/layout")])

    tags = crane("ls", "--insecure", f"{address}/{repository}").decode().split()
    assert sorted(tags) == ["1", original.digest.replace(":", "-")], pushed.get("msg")
    assert [each["digest"] for each in planned["images"]] == [each["digest"] for each in pushed["images"]]
    assert pushed["images"][0]["referrers"] == {"copied": 1, "left_out": []}
    assert not again["changed"]
    assert requests == without
    assert pulled["images"][0]["referrers"] == {"copied": 1, "left_out": []}, pulled.get("msg")
    assert len(attached) == 1
    assert discover(oras, "--plain-http", f"{address}/{repository}:1") == attached
    assert discover(oras, "--oci-layout", f"{tmp_path}/layout@{original.digest}") == attached


def test_pull_to_docker_archive_reports_signature(task: Task, repository: str, tmp_path: Path) -> None:
    source = CopiedLayout(tmp_path / "layout", "busybox")
    source.list(source.add_manifest(source.document({}, "application/json"), subject=source.root, artifactType=SBOM))
    push(task, source, repository)

    result = task("k8scr_pull", images=[pull_entry(repository, f"docker-archive:{tmp_path}/app.tar")])

    assert not result.get("failed"), result["msg"]
    (left_out,) = result["images"][0]["referrers"]["left_out"]
    assert left_out.startswith("1 referrer: ")
    assert left_out in json.dumps(result["warnings"])


def test_push_copies_attestations_of_index(task: Task, repository: str, address: str, tmp_path: Path) -> None:
    # buildx adds provenance and SBOMs to the index as images for an unknown platform.
    source = CopiedLayout(tmp_path / "layout", "busybox")
    attestation = source.add_manifest(source.document({}, "application/vnd.in-toto+json"))
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": source.digest}
    unknown = {"architecture": "unknown", "os": "unknown"}
    listed = [
        {**source.root, "platform": {"architecture": "amd64", "os": "linux"}},
        {**attestation, "platform": unknown, "annotations": annotations},
    ]
    index = source.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}, INDEX)
    source.list(index, "attested")
    attested = f"oci:{source.folder}:attested"

    result = task(
        "k8scr_push",
        images=[
            push_entry(attested, repository),
            {"source": attested, "name": f"docker.io/{repository}:reduced", "platforms": ["linux/amd64"]},
        ],
    )

    digests = [crane("digest", f"{address}/{repository}:{tag}").decode().strip() for tag in ("1", "reduced")]
    assert digests == [index["digest"], source.digest], result.get("msg")
    crane("validate", "--remote", f"{address}/{repository}@{attestation['digest']}")
