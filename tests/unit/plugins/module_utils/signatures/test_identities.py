# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program cosign verifies signatures with certificates, here replaced by a script; live tests run the real one."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures import identity as tested
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.bundle import read_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.identity import Identity, TrustedRoot
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.signature import (
    InvalidSignatureError,
    Signature,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.simple_signing import read_payload
from signatures.deployment import ISSUER, Deployment
from signatures.formats import (
    SIMPLE_SIGNING,
    certificate_annotations,
    certificate_bundle,
    key_annotations,
    payload,
    statement,
)
from unit.plugins.module_utils.support.images import encode
from unit.plugins.module_utils.support.processes import has_ended
from unit.plugins.module_utils.support.signed_images import key_pair

MANIFEST = b'{"schemaVersion": 2}'
IDENTITY = "https://ci.example.com/team/app"
Cosign = Callable[[str], Path]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    """The deployment of Sigstore that issues the certificates."""
    return Deployment()


@pytest.fixture
def identity(deployment: Deployment, tmp_path: Path) -> Identity:
    """The requirement of a signature by the team."""
    return Identity("https://ci\\.example\\.com/team/.*", ISSUER, trusted_root(tmp_path, deployment.trusted_root))


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cosign:
    """Installs a program cosign, a shell script, and returns the folder to which it may write."""

    def install(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "cosign").write_text(f"#!/bin/sh\nout={shlex.quote(str(tmp_path))}\n{script}\n")
        (folder / "cosign").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return tmp_path

    return install


def trusted_root(folder: Path, value: dict[str, Any]) -> TrustedRoot:
    """Return a trusted root from a file."""
    path = folder / "trusted_root.json"
    path.write_bytes(encode(value))
    return TrustedRoot.load(path)


def of_cosign_2(deployment: Deployment) -> Signature:
    """Return a signature of the image as cosign 2 stores it."""
    content = payload(digest_of(MANIFEST))
    annotations = certificate_annotations(content, deployment.issue(IDENTITY), deployment)
    return read_payload(Descriptor(SIMPLE_SIGNING, digest_of(content), len(content), annotations), content, "the tag")


def of_cosign_3(deployment: Deployment) -> Signature:
    """Return a signature of the image as cosign 3 stores it."""
    bundle = certificate_bundle(statement(digest_of(MANIFEST)), deployment.issue(IDENTITY), deployment)
    signature = read_bundle(encode(bundle), "the referrer")
    assert signature
    return signature


def test_cosign_gets_bundle_trusted_root_and_manifest(
    cosign: Cosign, identity: Identity, deployment: Deployment
) -> None:
    out = cosign(
        'printf "%s\\n" "$@" > "$out/arguments"; cat "$HOME/bundle.json" > "$out/bundle"\n'
        'cat "$HOME/content" > "$out/content"; cat "$HOME/trusted_root.json" > "$out/root"'
    )
    signature = of_cosign_3(deployment)

    identity.verify(signature, lambda: MANIFEST)

    arguments = (out / "arguments").read_text().splitlines()
    assert arguments[:2] == ["verify-blob", "--new-bundle-format"]
    assert "--certificate-identity-regexp=^(?:https://ci\\.example\\.com/team/.*)$" in arguments
    assert f"--certificate-oidc-issuer={ISSUER}" in arguments
    assert "--insecure-ignore-tlog=false" in arguments
    assert "--insecure-ignore-sct=false" in arguments
    assert "--use-signed-timestamps=false" in arguments
    assert json.loads((out / "bundle").read_text()) == signature.bundle
    assert json.loads((out / "root").read_text()) == deployment.trusted_root
    assert (out / "content").read_bytes() == MANIFEST


def test_cosign_gets_payload_of_signature_of_cosign_2(
    cosign: Cosign, identity: Identity, deployment: Deployment
) -> None:
    out = cosign('cat "$HOME/content" > "$out/content"')

    identity.verify(of_cosign_2(deployment), lambda: MANIFEST)

    assert (out / "content").read_bytes() == payload(digest_of(MANIFEST))


def test_cosign_runs_without_environment_and_in_private_folder(
    cosign: Cosign, identity: Identity, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSIGN_EXPERIMENTAL", "1")
    monkeypatch.setenv("TUF_MIRROR", "https://mirror.example.com")
    monkeypatch.setenv("HOME", "/home/user")
    out = cosign('env > "$out/environment"; /bin/ls -ld "$HOME" > "$out/mode"; echo "$HOME" > "$out/folder"')

    identity.verify(of_cosign_3(deployment), lambda: MANIFEST)

    names = {line.partition("=")[0] for line in (out / "environment").read_text().splitlines()}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD", "out"} == {"PATH", "HOME", "TUF_ROOT", "HTTPS_PROXY", "HTTP_PROXY"}
    assert (out / "mode").read_text().startswith("drwx------")
    assert not Path((out / "folder").read_text().strip()).exists()


@pytest.mark.parametrize(
    ("removed", "flag"),
    [("tlogs", "--insecure-ignore-tlog=true"), ("ctlogs", "--insecure-ignore-sct=true")],
)
def test_cosign_checks_proofs_that_trusted_root_names(
    cosign: Cosign, deployment: Deployment, tmp_path: Path, removed: str, flag: str
) -> None:
    root = {**deployment.trusted_root, "timestampAuthorities": [{}]}
    del root[removed]
    out = cosign('printf "%s\\n" "$@" > "$out/arguments"')

    Identity(".*", ISSUER, trusted_root(tmp_path, root)).verify(of_cosign_3(deployment), lambda: MANIFEST)

    arguments = (out / "arguments").read_text().splitlines()
    assert flag in arguments
    assert f"--use-signed-timestamps={'true' if removed == 'tlogs' else 'false'}" in arguments


def test_cosign_checks_timestamp_if_log_proves_no_time(
    cosign: Cosign, identity: Identity, deployment: Deployment
) -> None:
    signature = of_cosign_3(deployment)
    assert signature.bundle
    (entry,) = signature.bundle["verificationMaterial"]["tlogEntries"]
    del entry["inclusionPromise"]
    out = cosign('printf "%s\\n" "$@" > "$out/arguments"')

    identity.verify(signature, lambda: MANIFEST)

    arguments = (out / "arguments").read_text().splitlines()
    assert "--use-signed-timestamps=true" in arguments
    assert "--insecure-ignore-tlog=false" in arguments


def test_error_of_cosign_is_reason(cosign: Cosign, identity: Identity, deployment: Deployment) -> None:
    cosign("echo Flag is deprecated >&2; echo Error: wrong identity >&2; echo error: wrong identity >&2; exit 1")

    with pytest.raises(InvalidSignatureError, match=r"^wrong identity$"):
        identity.verify(of_cosign_3(deployment), lambda: MANIFEST)


def test_long_error_of_cosign_is_shortened(cosign: Cosign, identity: Identity, deployment: Deployment) -> None:
    cosign("printf 'Error: %05000d' 1 >&2; exit 1")

    with pytest.raises(InvalidSignatureError) as caught:
        identity.verify(of_cosign_3(deployment), lambda: MANIFEST)

    assert len(str(caught.value)) < 1000


def test_missing_cosign_is_error(
    identity: Identity, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InputError, match=r"needs the program cosign .* Install cosign 2\.5 or later there"):
        identity.verify(of_cosign_3(deployment), lambda: MANIFEST)


def test_old_cosign_is_error(cosign: Cosign, identity: Identity, deployment: Deployment) -> None:
    cosign("echo 'Error: unknown flag: --trusted-root' >&2; exit 1")

    with pytest.raises(InputError, match="cosign is not a supported version: unknown flag: --trusted-root"):
        identity.verify(of_cosign_3(deployment), lambda: MANIFEST)


def test_unresponsive_cosign_is_killed_with_its_children(
    cosign: Cosign, identity: Identity, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "_SECONDS", 1.0)
    folder = cosign("/bin/sleep 60 & echo $! > $out/child; wait")

    with pytest.raises(InputError, match=r"cosign did not finish within 1 s"):
        identity.verify(of_cosign_3(deployment), lambda: MANIFEST)

    assert has_ended(folder / "child")


def test_signature_with_key_has_no_identity(identity: Identity, tmp_path: Path) -> None:
    content = payload(digest_of(MANIFEST))
    annotations = key_annotations(content, key_pair(tmp_path / "key.pub"))
    layer = Descriptor(SIMPLE_SIGNING, digest_of(content), len(content), annotations)

    with pytest.raises(InvalidSignatureError, match="has no certificate"):
        identity.verify(read_payload(layer, content, "the tag"), lambda: MANIFEST)


def test_bundle_of_cosign_2_has_certificate_and_log_entry(deployment: Deployment) -> None:
    signature = of_cosign_2(deployment)

    assert signature.bundle
    material = signature.bundle["verificationMaterial"]
    assert len(material["x509CertificateChain"]["certificates"]) == 1
    assert material["tlogEntries"][0]["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.1"}
    assert signature.content == payload(digest_of(MANIFEST))


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        ("dev.sigstore.cosign/certificate", "no PEM", "is not a certificate in PEM"),
        ("dev.sigstore.cosign/bundle", "[]", "annotation dev.sigstore.cosign/bundle"),
        ("dev.sigstore.cosign/bundle", "{}", "it has no body of the log entry"),
        ("dev.sigstore.cosign/bundle", '{"Payload": {"body": "e30=", "logID": "xy"}}', "is not hexadecimal"),
        ("dev.sigstore.cosign/rfc3161timestamp", "no JSON", "annotation dev.sigstore.cosign/rfc3161timestamp"),
        ("dev.cosignproject.cosign/signature", "***", "is not base64"),
    ],
)
def test_invalid_annotation_is_reason(deployment: Deployment, annotation: str, value: str, reason: str) -> None:
    content = payload(digest_of(MANIFEST))
    annotations = certificate_annotations(content, deployment.issue(IDENTITY), deployment)
    layer = Descriptor(SIMPLE_SIGNING, digest_of(content), len(content), {**annotations, annotation: value})

    with pytest.raises(InvalidSignatureError, match=reason):
        read_payload(layer, content, "the tag")


def test_trusted_root_is_read_once(cosign: Cosign, identity: Identity, deployment: Deployment, tmp_path: Path) -> None:
    out = cosign('cat "$HOME/trusted_root.json" > "$out/root"')
    (tmp_path / "trusted_root.json").write_text("changed")

    dataclasses.replace(identity).verify(of_cosign_3(deployment), lambda: MANIFEST)

    assert json.loads((out / "root").read_text()) == deployment.trusted_root
