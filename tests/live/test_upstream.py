# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes from upstream registries with passwords, tokens, certificates and mirrors."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest

from .conftest import Task
from .host_registries import HostRegistry
from .image_tasks import push_entry
from .upstream_registries import (
    PASSWORD,
    USER,
    TokenServer,
    basic_authentication,
    self_signed_certificate,
    upstream_registry,
)

LOGIN = {"username": USER, "password": PASSWORD}
IMPLEMENTATIONS = ["distribution-3", "distribution-2.8"]
"""The implementations that support authentication."""


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> str:
    """Each implementation that supports authentication."""
    return str(request.param)


@pytest.fixture
def with_password(implementation: str, tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry that requires a user name and a password."""
    with upstream_registry(implementation, tmp_path, basic_authentication(tmp_path)) as registry:
        yield registry


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    """A token server."""
    with TokenServer(tmp_path).running() as running:
        yield running


@pytest.fixture
def with_token(implementation: str, tmp_path: Path, tokens: TokenServer) -> Iterator[HostRegistry]:
    """A registry that requires a token from ``tokens``."""
    with upstream_registry(implementation, tmp_path, tokens.variables) as registry:
        yield registry


def fill(registry: HostRegistry, name: str, image: str, *options: str) -> images.Image:
    """Copy a test image to the registry by skopeo, and return the image."""
    original = images.ensure(image)
    credentials = f"--dest-creds={USER}:{PASSWORD}"
    command = ["skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false", credentials, *options]
    subprocess.run([*command, f"oci:{original.layout}", f"docker://{registry.address}/{name}"], check=True)
    return original


def upstream_entry(registry: HostRegistry, **more: Any) -> dict[str, Any]:
    """Return the entry of ``upstreams`` for a registry that does not use TLS, with further keys."""
    return {"host": registry.address, "plain_http": True, **more}


def push_from(task: Task, registry: HostRegistry, repository: str, **more: Any) -> dict[str, Any]:
    """Push tag 1 of a repository of an upstream registry, and return the result.

    Args:
        task: Runs modules.
        registry: The upstream registry.
        repository: The repository.
        more: Further keys of the registry's entry of ``upstreams``.
    """
    source = f"docker://{registry.address}/{repository}:1"
    return task("k8scr_push", images=[source], upstreams=[upstream_entry(registry, **more)])


@pytest.mark.parametrize("image", ["busybox", "multi", "artifact", "layers"])
def test_push_copies_image_unchanged_with_password(
    task: Task, with_password: HostRegistry, repository: str, image: str
) -> None:
    original = fill(with_password, f"{repository}:1", image)

    result = push_from(task, with_password, repository, **LOGIN)
    again = push_from(task, with_password, repository, **LOGIN)

    assert result["images"][0]["digest"] == original.digest, result.get("msg")
    assert not again["changed"]
    assert PASSWORD not in json.dumps(result)


def test_push_fails_without_password(task: Task, with_password: HostRegistry, repository: str) -> None:
    fill(with_password, f"{repository}:1", "busybox")

    result = push_from(task, with_password, repository)

    advice = "Check the image's name and tag: registries also return 401 for images that do not exist. If they are"
    assert f"status 401. {advice} correct, set credentials in upstreams" in result["msg"]


def test_push_uses_credentials_of_skopeo_login(
    task: Task, with_password: HostRegistry, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fill(with_password, f"{repository}:1", "busybox")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    command = ["skopeo", "login", "--tls-verify=false", f"--username={USER}", "--password-stdin", with_password.address]
    subprocess.run(command, input=PASSWORD, text=True, check=True, stdout=subprocess.DEVNULL)

    result = push_from(task, with_password, repository)

    assert result["images"][0]["digest"] == original.digest, result.get("msg")


def test_push_copies_image_unchanged_with_token(
    task: Task, with_token: HostRegistry, tokens: TokenServer, repository: str
) -> None:
    original = fill(with_token, f"{repository}:1", "layers")
    tokens.scopes.clear()

    result = push_from(task, with_token, repository, **LOGIN)

    assert result["images"][0]["digest"] == original.digest, result.get("msg")
    assert tokens.scopes == [f"repository:{repository}:pull"]


def test_push_requests_new_token_before_token_expires(
    task: Task, with_token: HostRegistry, tokens: TokenServer, repository: str
) -> None:
    original = fill(with_token, f"{repository}:1", "layers")
    tokens.scopes.clear()
    tokens.lifetime = 1

    result = push_from(task, with_token, repository, **LOGIN)

    assert result["images"][0]["digest"] == original.digest, result.get("msg")
    assert len(tokens.scopes) > 1


def test_push_fails_when_token_server_rejects_credentials(
    task: Task, with_token: HostRegistry, repository: str
) -> None:
    result = push_from(task, with_token, repository, username=USER, password="mistaken")

    assert "returned no token: status 401. Check the credentials from upstreams" in result["msg"]
    assert "mistaken" not in json.dumps(result)


def test_push_trusts_registry_only_with_its_ca(
    task: Task, implementation: str, repository: str, tmp_path: Path
) -> None:
    certificate, key = self_signed_certificate(tmp_path)
    variables = {"REGISTRY_HTTP_TLS_CERTIFICATE": str(certificate), "REGISTRY_HTTP_TLS_KEY": str(key)}
    with upstream_registry(implementation, tmp_path, variables) as registry:
        original = fill(registry, f"{repository}:1", "busybox")

        source = f"docker://{registry.address}/{repository}:1"

        upstreams = [{"host": registry.address, "ca_cert": str(certificate)}]
        trusted = task("k8scr_push", images=[source], upstreams=upstreams)
        untrusted = task("k8scr_push", images=[source])

    assert trusted["images"][0]["digest"] == original.digest, trusted.get("msg")
    assert "is not trusted" in untrusted["msg"]


def test_push_sends_client_certificate_of_certs_d(
    task: Task, implementation: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed_certificate(tmp_path)
    files = {"CERTIFICATE": certificate, "KEY": key, "CLIENTCAS": f"[{certificate}]"}
    variables = {f"REGISTRY_HTTP_TLS_{name}": str(file) for name, file in files.items()}
    with upstream_registry(implementation, tmp_path, variables) as registry:
        # skopeo reads this folder too.
        monkeypatch.setenv("HOME", str(tmp_path))
        folder = tmp_path / ".config/containers/certs.d" / registry.address
        folder.mkdir(parents=True)
        for name, file in {"ca.crt": certificate, "client.cert": certificate, "client.key": key}.items():
            (folder / name).write_bytes(file.read_bytes())
        original = fill(registry, f"{repository}:1", "busybox", "--dest-tls-verify=true")
        source = f"docker://{registry.address}/{repository}:1"

        with_certificate = task("k8scr_push", images=[source])
        (folder / "client.cert").unlink()
        (folder / "client.key").unlink()
        without = task("k8scr_push", images=[source])

    assert with_certificate["images"][0]["digest"] == original.digest, with_certificate.get("msg")
    assert "requires a client certificate" in without["msg"]


def test_push_downloads_from_pull_through_mirror(
    task: Task, implementation: str, repository: str, tmp_path: Path
) -> None:
    with upstream_registry(implementation, tmp_path / "upstream") as upstream:
        original = fill(upstream, f"{repository}:1", "multi")
        variables = {"REGISTRY_PROXY_REMOTEURL": f"http://{upstream.address}"}
        with upstream_registry(implementation, tmp_path / "mirror", variables) as mirror:
            upstreams = [upstream_entry(upstream, mirrors=[mirror.address]), upstream_entry(mirror)]

            result = task("k8scr_push", images=[f"docker://{upstream.address}/{repository}:1"], upstreams=upstreams)

    assert result["images"][0]["digest"] == original.digest, result.get("msg")
    assert result["images"][0]["name"] == f"{upstream.address}/{repository}:1"
    assert list((tmp_path / "mirror/storage").rglob(original.digest.partition(":")[2]))


def test_push_copies_only_requested_platform(
    task: Task, with_password: HostRegistry, repository: str, address: str
) -> None:
    original = fill(with_password, f"{repository}:1", "multi")
    entry = {"source": f"docker://{with_password.address}/{repository}:1", "platforms": ["linux/arm64"]}

    result = task("k8scr_push", images=[entry], upstreams=[upstream_entry(with_password, **LOGIN)])

    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/{repository}:1"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    entries = json.loads((original.layout / "blobs" / original.digest.replace(":", "/")).read_bytes())["manifests"]
    (arm64,) = [each["digest"] for each in entries if each["platform"]["architecture"] == "arm64"]
    assert result["images"][0]["digest"] == arm64 == f"sha256:{hashlib.sha256(raw).hexdigest()}", result.get("msg")


def test_push_uses_locked_digest_after_tag_moves(
    task: Task, with_password: HostRegistry, repository: str, tmp_path: Path
) -> None:
    original = fill(with_password, f"{repository}:1", "busybox")
    source = f"docker://{with_password.address}/{repository}:1"
    entries = [push_entry(source, f"{repository}/{cluster}") for cluster in ("first", "second")]
    options = {"lock": str(tmp_path / "lock.json"), "upstreams": [upstream_entry(with_password, **LOGIN)]}
    task("k8scr_push", images=entries, check_mode=True, **options)
    assert not (tmp_path / "lock.json").exists()
    task("k8scr_push", images=entries[:1], **options)
    fill(with_password, f"{repository}:1", "layers")

    first = task("k8scr_push", images=entries[:1], **options, locked=True)
    unlocked = task("k8scr_push", images=entries[1:], **options, locked=True)
    without_lock = task("k8scr_push", images=entries[:1], locked=True)

    assert json.loads((tmp_path / "lock.json").read_text()) == {entries[0]["name"]: original.digest}
    assert first["images"][0]["digest"] == original.digest, first.get("msg")
    assert not first["changed"]
    assert f"has no digest for {entries[1]['name']}" in unlocked["msg"]
    assert without_lock["msg"] == "locked is True but all of the following are missing: lock"


def test_push_copies_signature_of_image(task: Task, with_password: HostRegistry, repository: str, address: str) -> None:
    original, artifact = fill(with_password, f"{repository}:1", "busybox"), images.ensure("artifact")
    tag = original.digest.replace(":", "-")
    fill(with_password, f"{repository}:{tag}.sig", "artifact")
    entry = {"source": f"docker://{with_password.address}/{repository}:1", "referrers": True}
    options = {"images": [entry], "upstreams": [upstream_entry(with_password, **LOGIN)]}

    result = task("k8scr_push", **options)
    again = task("k8scr_push", **options)

    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/{repository}:{tag}.sig"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert artifact.digest == f"sha256:{hashlib.sha256(raw).hexdigest()}", result.get("msg")
    assert not again["changed"]
