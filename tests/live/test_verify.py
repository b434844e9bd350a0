# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes verify the signatures of real programs, before anything is sent and without a network."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout
from signatures.deployment import ISSUER, Deployment
from signatures.formats import (
    SIMPLE_SIGNING,
    certificate_annotations,
    certificate_bundle,
    payload,
    statement,
    timestamp_annotations,
    timestamp_bundle,
)
from signatures.timestamps import TimestampAuthority
from unit.plugins.module_utils.support.images import make_image
from unit.plugins.module_utils.support.signed_images import artifact, bundle_of, signature_tag
from unit.plugins.module_utils.support.tool_layouts import Entry, named, write_entries

from .conftest import Task
from .host_registries import HostRegistry
from .image_tasks import pull_entry, push_entry
from .offline_verification import verify_offline
from .signers import VERSIONS, CosignSigner, cosign, sign_with_notation
from .upstream_registries import upstream_registry

pytestmark = pytest.mark.concurrent

IDENTITY = "https://ci.example.com/team/app@refs/tags/v1"


@pytest.fixture(params=["distribution-3", "go-containerregistry with referrers"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HostRegistry]:
    """An upstream registry without the referrers API, and one with it."""
    with upstream_registry(request.param, tmp_path / "upstream") as running:
        yield running


@pytest.fixture
def plain_upstream(tmp_path: Path) -> Iterator[HostRegistry]:
    """An upstream registry without the referrers API."""
    with upstream_registry("distribution-3", tmp_path / "upstream") as running:
        yield running


def store(registry: HostRegistry, name: str, image: str = "busybox") -> str:
    """Store a test image in a registry with tag 1, and return its name with its digest."""
    original = images.ensure(image)
    copy = ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci:{original.layout}"]
    subprocess.run([*copy, f"docker://{registry.address}/{name}:1"], check=True)
    return f"{registry.address}/{name}@{original.digest}"


def push(task: Task, registry: HostRegistry, *entries: Any, verify: list[dict[str, str]]) -> dict[str, Any]:
    """Push images of an upstream registry, and return the result."""
    upstreams = [{"host": registry.address, "plain_http": True}]
    return task("k8scr_push", images=list(entries), upstreams=upstreams, verify=verify)


def without_referrers(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of the images of a push; the signatures are copied with them."""
    return [image for image in result["images"] if "subject" not in image]


def is_missing(address: str, repository: str) -> bool:
    """Return whether the cluster's registry does not have tag 1 of a repository."""
    command = [str(layout.BIN / "crane"), "digest", f"{address}/{repository}:1"]
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


def use(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let modules find a version of cosign in PATH."""
    monkeypatch.setenv("PATH", f"{cosign(version).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("version", VERSIONS)
def test_push_accepts_images_that_cosign_signed_with_key(
    task: Task, repository: str, address: str, upstream: HostRegistry, tmp_path: Path, version: int
) -> None:
    signer, other = CosignSigner(tmp_path / "signer", version), CosignSigner(tmp_path / "other", version)
    image = store(upstream, f"{repository}/signed")
    unsigned = store(upstream, f"{repository}/unsigned", "multi")
    signer.sign(image)
    entries = [
        push_entry(f"docker://{upstream.address}/{repository}/{name}:1", f"{repository}/{name}")
        for name in ("signed", "unsigned")
    ]

    rejected = push(task, upstream, *entries, verify=[{"match": "*", "cosign_key": other.key}])
    assert "another key" in rejected["images"][0]["error"]
    assert is_missing(address, f"{repository}/signed")
    result = push(task, upstream, *entries, verify=[{"match": "docker.io/*", "cosign_key": signer.key}])

    signed, rejected_image = without_referrers(result)
    assert signed["digest"] == signed["verified"]["digest"] == image.partition("@")[2]
    assert result["failed"]
    assert f"{unsigned.partition('@')[2]} in repository {repository}/unsigned" in rejected_image["error"]
    assert "is not signed" in rejected_image["error"]
    assert is_missing(address, f"{repository}/unsigned")


@pytest.mark.parametrize("verifier", VERSIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_push_accepts_images_that_cosign_signed_with_identity(
    task: Task,
    repository: str,
    address: str,
    plain_upstream: HostRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    verifier: int,
) -> None:
    deployment, signer = Deployment(), CosignSigner(tmp_path / "signer", version)
    image = store(plain_upstream, repository)
    signer.sign_as(image, IDENTITY, deployment)
    entry = push_entry(f"docker://{plain_upstream.address}/{repository}:1", repository)
    policy = {"match": "*", "issuer": ISSUER, "trusted_root": signer.create_trusted_root(deployment)}
    other_root = CosignSigner(tmp_path / "other", version).create_trusted_root(Deployment())
    team = "https://ci\\.example\\.com/team/.*"
    rejected = {
        "expected SAN value": {**policy, "identity": "https://ci\\.example\\.com/te"},
        "expected issuer value": {**policy, "identity": team, "issuer": "https://other.example.com"},
        "failed to verify": {**policy, "identity": team, "trusted_root": other_root},
    }
    use(verifier, monkeypatch)

    for reason, other in rejected.items():
        assert reason in push(task, plain_upstream, entry, verify=[other])["images"][0]["error"]
    assert is_missing(address, repository)
    result = push(task, plain_upstream, entry, verify=[{**policy, "identity": team}])

    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["verified"]["by"] == "identity"
    assert not is_missing(address, repository)


@pytest.mark.parametrize("version", VERSIONS)
def test_layout_is_verified_without_network(
    task: Task, repository: str, plain_upstream: HostRegistry, tmp_path: Path, version: int
) -> None:
    deployment, signer = Deployment(), CosignSigner(tmp_path / "signer", version)
    image = store(plain_upstream, repository)
    signer.sign(image)
    signer.sign_as(image, IDENTITY, deployment)
    source = f"docker://{plain_upstream.address}/{repository}:1"
    pushed = task(
        "k8scr_push",
        images=[push_entry(source, repository, referrers=True)],
        upstreams=[{"host": plain_upstream.address, "plain_http": True}],
    )
    pulled = task("k8scr_pull", images=[pull_entry(repository, f"oci:{tmp_path}/layout", referrers=True)])
    root = signer.create_trusted_root(deployment)
    identity = {"match": "*", "identity": IDENTITY, "issuer": ISSUER, "trusted_root": root}
    other = {**identity, "identity": "https://ci.example.com/other"}
    assert pushed["changed"], pushed.get("msg")
    assert pulled["changed"], pulled.get("msg")

    for verifier in VERSIONS:
        for policy in ({"match": "*", "cosign_key": signer.key}, identity):
            (result,) = verify_offline(f"oci:{tmp_path}/layout", [policy], cosign(verifier))
            assert result.get("digest") == image.partition("@")[2], result
        (result,) = verify_offline(f"oci:{tmp_path}/layout", [other], cosign(verifier))
        assert "expected SAN value" in result["error"]


def test_push_verifies_layout_that_cosign_saved(
    task: Task, repository: str, plain_upstream: HostRegistry, tmp_path: Path
) -> None:
    signer, other = CosignSigner(tmp_path / "signer", 2), CosignSigner(tmp_path / "other", 2)
    image = store(plain_upstream, repository)
    signer.sign(image)
    signer.run("save", f"--dir={tmp_path}/saved", f"{plain_upstream.address}/{repository}:1")
    entry = push_entry(f"oci:{tmp_path}/saved", repository)

    rejected = task("k8scr_push", images=[entry], verify=[{"match": "*", "cosign_key": other.key}])
    result = task("k8scr_push", images=[entry], verify=[{"match": "*", "cosign_key": signer.key}])

    assert "another key" in rejected["images"][0]["error"]
    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["verified"]["digest"] == image.partition("@")[2]


@pytest.mark.parametrize("version", VERSIONS)
def test_push_verifies_index_that_is_signed_without_its_children(
    task: Task, repository: str, plain_upstream: HostRegistry, tmp_path: Path, version: int
) -> None:
    signer = CosignSigner(tmp_path / "signer", version)
    image = store(plain_upstream, repository, "multi")
    signer.sign(image)
    source = f"docker://{plain_upstream.address}/{repository}:1"
    entries = [push_entry(source, repository), push_entry(source, f"{repository}/reduced", platforms=["linux/amd64"])]
    verify = [{"match": "*", "cosign_key": signer.key}]

    result = push(task, plain_upstream, *entries, verify=verify)
    reduced = without_referrers(result)[1]["digest"]
    child = push_entry(f"docker://{plain_upstream.address}/{repository}@{reduced}", f"{repository}/child")
    rejected = push(task, plain_upstream, child, verify=verify)

    assert not result.get("failed"), result["msg"]
    assert {each["verified"]["digest"] for each in without_referrers(result)} == {image.partition("@")[2]}
    assert f"{reduced} in repository {repository}" in rejected["images"][0]["error"]
    assert "is not signed" in rejected["images"][0]["error"]


@pytest.mark.parametrize("version", VERSIONS)
def test_certificate_is_verified_at_time_of_timestamp_without_log(tmp_path: Path, version: int) -> None:
    deployment, authority = Deployment(), TimestampAuthority(tmp_path / "authority")
    root = {**deployment.trusted_root, "timestampAuthorities": [authority.trusted]}
    del root["tlogs"]
    (tmp_path / "trusted_root.json").write_text(json.dumps(root))
    policy = {"match": "*", "identity": IDENTITY, "issuer": ISSUER, "trusted_root": str(tmp_path / "trusted_root.json")}
    image = make_image()
    now = datetime.now(timezone.utc).replace(microsecond=0)
    valid, expired = (deployment.issue(IDENTITY, at=now - timedelta(minutes=age)) for age in (1, 60))
    other = TimestampAuthority(tmp_path / "other")
    cases = [(valid, authority, ""), (expired, authority, "certificate"), (valid, other, "timestamps")]

    for number, (signer, stamping, reason) in enumerate(cases):
        content = payload(image.digest)
        annotations = timestamp_annotations(content, signer, stamping)
        of_cosign_2 = named(artifact([(content, SIMPLE_SIGNING, annotations)]), signature_tag(image))
        of_cosign_3: Entry = bundle_of(image, timestamp_bundle(statement(image.digest), signer, stamping)), {}
        for entry in (of_cosign_2, of_cosign_3):
            folder = tmp_path / f"layout-{number}-{entry is of_cosign_3}"
            write_entries(folder, [named(image, "docker.io/team/app:1"), entry])

            (result,) = verify_offline(f"oci:{folder}", [policy], cosign(version))

            if reason:
                assert reason in result["error"]
            else:
                assert result.get("digest") == image.digest, result


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("minute", [-5, 1, 15])
def test_certificate_is_verified_at_time_of_log_entry(tmp_path: Path, version: int, minute: int) -> None:
    deployment, image = Deployment(), make_image()
    (tmp_path / "trusted_root.json").write_text(json.dumps(deployment.trusted_root))
    policy = {"match": "*", "identity": IDENTITY, "issuer": ISSUER, "trusted_root": str(tmp_path / "trusted_root.json")}
    # The certificate is valid for ten minutes and expired long ago.
    signer, content = deployment.issue(IDENTITY), payload(image.digest)
    annotations = certificate_annotations(content, signer, deployment, minute)
    of_cosign_2 = named(artifact([(content, SIMPLE_SIGNING, annotations)]), signature_tag(image))
    of_cosign_3: Entry = bundle_of(image, certificate_bundle(statement(image.digest), signer, deployment, minute)), {}

    for number, entry in enumerate((of_cosign_2, of_cosign_3)):
        write_entries(tmp_path / f"layout-{number}", [named(image, "docker.io/team/app:1"), entry])
        (result,) = verify_offline(f"oci:{tmp_path}/layout-{number}", [policy], cosign(version))
        if minute == 1:
            assert result.get("digest") == image.digest, result
        else:
            assert "integrated time outside certificate validity" in result["error"]


def test_push_does_not_verify_signatures_of_notation(
    task: Task, repository: str, upstream: HostRegistry, tmp_path: Path
) -> None:
    signer = CosignSigner(tmp_path / "signer", 2)
    sign_with_notation(store(upstream, repository), tmp_path)
    entry = push_entry(f"docker://{upstream.address}/{repository}:1", repository)

    rejected = push(task, upstream, entry, verify=[{"match": "*", "cosign_key": signer.key}])

    assert "it has a signature of notation; only signatures of cosign are verified" in rejected["msg"]
