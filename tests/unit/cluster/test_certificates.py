# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of the cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cluster import certificates, layout
from cluster.certificates import CA, Pair


@pytest.fixture(autouse=True)
def pki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(layout, "PKI", tmp_path)
    certificates.authority(CA)
    return tmp_path


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_server_certificate_passes_strict_verification() -> None:
    pair = certificates.signed(Pair("server"), "server", hosts=["127.0.0.1", "localhost"])
    strict = ("-x509_strict", "-CAfile", str(CA.certificate), "-purpose", "sslserver", "-verify_ip", "127.0.0.1")
    assert "OK" in openssl("verify", *strict, str(pair.certificate))


def test_subject_contains_groups_and_user() -> None:
    pair = certificates.signed(Pair("someone"), "some+one/else", ["team:a", "b"])
    subject = openssl("x509", "-noout", "-subject", "-nameopt", "multiline,-esc_msb", "-in", str(pair.certificate))
    values = [line.partition("= ")[2] for line in subject.splitlines()[1:]]
    assert values == ["team:a", "b", "some+one/else"]


def test_client_certificate_is_invalid_for_server() -> None:
    pair = certificates.signed(Pair("client"), "client")
    assert "TLS Web Server" not in openssl("x509", "-noout", "-text", "-in", str(pair.certificate))


def test_signed_keeps_existing_certificate(pki: Path) -> None:
    first = certificates.signed(Pair("client"), "client").certificate.read_bytes()
    assert certificates.signed(Pair("client"), "client").certificate.read_bytes() == first
    assert (pki / "client.key").stat().st_mode & 0o077 == 0
