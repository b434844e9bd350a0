# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of real upstream registries go straight into the cluster, whatever these want to know before."""

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
from .upstream_registries import (
    PASSWORD,
    USER,
    TokenServer,
    basic_authentication,
    make_certificate,
    upstream_registry,
)

MAKES = ["distribution-3", "distribution-2.8"]


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest) -> str:
    """Each make of registry that can be told to ask who is there."""
    return str(request.param)


@pytest.fixture
def guarded(make: str, tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry of each make that wants a user's name and password."""
    with upstream_registry(make, tmp_path, basic_authentication(tmp_path)) as registry:
        yield registry


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    """A token server."""
    with TokenServer(tmp_path).running() as running:
        yield running


@pytest.fixture
def token_guarded(make: str, tmp_path: Path, tokens: TokenServer) -> Iterator[HostRegistry]:
    """A registry of each make that wants a token of ``tokens``."""
    with upstream_registry(make, tmp_path, tokens.variables) as registry:
        yield registry


def fill(registry: HostRegistry, name: str, image: str, *options: str) -> images.Image:
    """Have skopeo put an image there."""
    made = images.ensure(image)
    login = f"--dest-creds={USER}:{PASSWORD}"
    command = ["skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false", login, *options]
    subprocess.run([*command, f"oci:{made.layout}", f"docker://{registry.address}/{name}"], check=True)
    return made


def settings(registry: HostRegistry, **more: Any) -> dict[str, Any]:
    return {"host": registry.address, "plain_http": True, **more}


def login() -> dict[str, str]:
    return {"username": USER, "password": PASSWORD}


@pytest.mark.parametrize("image", ["busybox", "multi", "artifact", "layers"])
def test_an_image_behind_a_password_comes_unchanged(
    task: Task, guarded: HostRegistry, repository: str, image: str
) -> None:
    made = fill(guarded, f"{repository}:1", image)
    options = {"images": [f"docker://{guarded.address}/{repository}:1"], "upstreams": [settings(guarded, **login())]}

    result = task("k8scr_push", **options)
    again = task("k8scr_push", **options)

    assert result["images"][0]["digest"] == made.digest, result.get("msg")
    assert not again["changed"]
    assert PASSWORD not in json.dumps(result)


def test_without_the_password_it_is_said_what_is_missing(task: Task, guarded: HostRegistry, repository: str) -> None:
    fill(guarded, f"{repository}:1", "busybox")

    result = task("k8scr_push", images=[f"docker://{guarded.address}/{repository}:1"], upstreams=[settings(guarded)])

    assert "status 401. Check the image's name. If it is correct, set credentials in upstreams" in result["msg"]


def test_what_skopeo_login_has_kept_is_used(
    task: Task, guarded: HostRegistry, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fill(guarded, f"{repository}:1", "busybox")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    command = ["skopeo", "login", "--tls-verify=false", f"--username={USER}", "--password-stdin", guarded.address]
    subprocess.run(command, input=PASSWORD, text=True, check=True, stdout=subprocess.DEVNULL)

    result = task("k8scr_push", images=[f"docker://{guarded.address}/{repository}:1"], upstreams=[settings(guarded)])

    assert result["images"][0]["digest"] == made.digest, result.get("msg")


def test_an_image_behind_a_token_comes_unchanged(
    task: Task, token_guarded: HostRegistry, tokens: TokenServer, repository: str
) -> None:
    made = fill(token_guarded, f"{repository}:1", "layers")
    tokens.scopes.clear()

    result = task(
        "k8scr_push",
        images=[f"docker://{token_guarded.address}/{repository}:1"],
        upstreams=[settings(token_guarded, **login())],
    )

    assert result["images"][0]["digest"] == made.digest, result.get("msg")
    assert tokens.scopes == [f"repository:{repository}:pull"]


def test_tokens_that_end_soon_are_renewed_on_the_way(
    task: Task, token_guarded: HostRegistry, tokens: TokenServer, repository: str
) -> None:
    made = fill(token_guarded, f"{repository}:1", "layers")
    tokens.scopes.clear()
    tokens.lifetime = 1

    result = task(
        "k8scr_push",
        images=[f"docker://{token_guarded.address}/{repository}:1"],
        upstreams=[settings(token_guarded, **login())],
    )

    assert result["images"][0]["digest"] == made.digest, result.get("msg")
    assert len(tokens.scopes) > 1


def test_whom_the_token_server_does_not_know_is_told_so(
    task: Task, token_guarded: HostRegistry, repository: str
) -> None:
    result = task(
        "k8scr_push",
        images=[f"docker://{token_guarded.address}/{repository}:1"],
        upstreams=[settings(token_guarded, username=USER, password="mistaken")],
    )

    assert "returned no token: status 401. Check the credentials from upstreams" in result["msg"]
    assert "mistaken" not in json.dumps(result)


def test_a_registry_with_a_ca_of_its_own_is_trusted_when_that_is_given(
    task: Task, make: str, repository: str, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    variables = {"REGISTRY_HTTP_TLS_CERTIFICATE": str(certificate), "REGISTRY_HTTP_TLS_KEY": str(key)}
    with upstream_registry(make, tmp_path, variables) as registry:
        made = fill(registry, f"{repository}:1", "busybox")
        wanted = [f"docker://{registry.address}/{repository}:1"]

        trusted = task("k8scr_push", images=wanted, upstreams=[{"host": registry.address, "ca_cert": str(certificate)}])
        unknown = task("k8scr_push", images=wanted)

    assert trusted["images"][0]["digest"] == made.digest, trusted.get("msg")
    assert "is not trusted" in unknown["msg"]


def test_a_registry_that_wants_a_client_certificate_gets_that_of_certs_d(
    task: Task, make: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path)
    files = {"CERTIFICATE": certificate, "KEY": key, "CLIENTCAS": f"[{certificate}]"}
    variables = {f"REGISTRY_HTTP_TLS_{name}": str(file) for name, file in files.items()}
    with upstream_registry(make, tmp_path, variables) as registry:
        # skopeo looks there as well.
        monkeypatch.setenv("HOME", str(tmp_path))
        folder = tmp_path / ".config/containers/certs.d" / registry.address
        folder.mkdir(parents=True)
        for name, file in {"ca.crt": certificate, "us.cert": certificate, "us.key": key}.items():
            (folder / name).write_bytes(file.read_bytes())
        made = fill(registry, f"{repository}:1", "busybox", "--dest-tls-verify=true")
        wanted = [f"docker://{registry.address}/{repository}:1"]

        known = task("k8scr_push", images=wanted)
        (folder / "us.cert").unlink()
        (folder / "us.key").unlink()
        unknown = task("k8scr_push", images=wanted)

    assert known["images"][0]["digest"] == made.digest, known.get("msg")
    assert "requires a client certificate" in unknown["msg"]


def test_a_mirror_that_fetches_what_it_is_asked_for_stands_in(
    task: Task, make: str, repository: str, tmp_path: Path
) -> None:
    with upstream_registry(make, tmp_path / "upstream") as upstream:
        made = fill(upstream, f"{repository}:1", "multi")
        variables = {"REGISTRY_PROXY_REMOTEURL": f"http://{upstream.address}"}
        with upstream_registry(make, tmp_path / "mirror", variables) as mirror:
            options = [settings(upstream, mirrors=[mirror.address]), settings(mirror)]

            result = task("k8scr_push", images=[f"docker://{upstream.address}/{repository}:1"], upstreams=options)

    assert result["images"][0]["digest"] == made.digest, result.get("msg")
    assert result["images"][0]["name"] == f"{upstream.address}/{repository}:1"
    assert list((tmp_path / "mirror/storage").rglob(made.digest.partition(":")[2]))


def test_the_platform_that_is_wanted_comes_alone(
    task: Task, guarded: HostRegistry, repository: str, address: str
) -> None:
    made = fill(guarded, f"{repository}:1", "multi")
    wanted = {"source": f"docker://{guarded.address}/{repository}:1", "platforms": ["linux/arm64"]}

    result = task("k8scr_push", images=[wanted], upstreams=[settings(guarded, **login())])

    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/{repository}:1"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    entries = json.loads((made.layout / "blobs" / made.digest.replace(":", "/")).read_bytes())["manifests"]
    (arm64,) = [entry["digest"] for entry in entries if entry["platform"]["architecture"] == "arm64"]
    assert result["images"][0]["digest"] == arm64 == f"sha256:{hashlib.sha256(raw).hexdigest()}", result.get("msg")


def test_a_second_month_gets_the_image_that_is_locked(
    task: Task, guarded: HostRegistry, repository: str, tmp_path: Path
) -> None:
    made = fill(guarded, f"{repository}:1", "busybox")
    names = [f"docker.io/{repository}/{cluster}:1" for cluster in ("first", "second")]
    wanted = [{"source": f"docker://{guarded.address}/{repository}:1", "name": name} for name in names]
    options = {"lock": str(tmp_path / "lock.json"), "upstreams": [settings(guarded, **login())]}
    task("k8scr_push", images=wanted, check_mode=True, **options)
    assert not (tmp_path / "lock.json").exists()
    task("k8scr_push", images=wanted[:1], **options)
    fill(guarded, f"{repository}:1", "layers")

    first = task("k8scr_push", images=wanted[:1], **options, locked=True)
    unlocked = task("k8scr_push", images=wanted[1:], **options, locked=True)
    forgotten = task("k8scr_push", images=wanted[:1], locked=True)

    assert json.loads((tmp_path / "lock.json").read_text()) == {names[0]: made.digest}
    assert first["images"][0]["digest"] == made.digest, first.get("msg")
    assert not first["changed"]
    assert f"has no digest for {names[1]}" in unlocked["msg"]
    assert forgotten["msg"] == "locked is True but all of the following are missing: lock"


def test_what_refers_to_an_image_goes_along_with_it(
    task: Task, guarded: HostRegistry, repository: str, address: str
) -> None:
    made, artifact = fill(guarded, f"{repository}:1", "busybox"), images.ensure("artifact")
    tag = made.digest.replace(":", "-")
    fill(guarded, f"{repository}:{tag}.sig", "artifact")
    wanted = {"source": f"docker://{guarded.address}/{repository}:1", "referrers": True}

    result = task("k8scr_push", images=[wanted], upstreams=[settings(guarded, **login())])
    again = task("k8scr_push", images=[wanted], upstreams=[settings(guarded, **login())])

    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/{repository}:{tag}.sig"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert artifact.digest == f"sha256:{hashlib.sha256(raw).hexdigest()}", result.get("msg")
    assert not again["changed"]
