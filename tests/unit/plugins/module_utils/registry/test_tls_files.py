# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for upstream registries: given files, and files of other container tools."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import tls_files
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.tls_files import TlsFiles, find_tls_files
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.settings import upstreams_of
from unit.plugins.module_utils.support.stores import read_image
from unit.plugins.module_utils.support.upstream_servers import tls_registry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder on a machine without certificates for registries."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tls_files, "_FOLDERS", (str(tmp_path / "containers"), str(tmp_path / "docker")))
    return tmp_path / "home"


@pytest.fixture
def strict(home: Path, tmp_path: Path, image: Image) -> Iterator[RegistryServer]:
    """A registry with an image that requires its own certificate as the client certificate."""
    with tls_registry(tmp_path, requires_certificate=True) as running:
        running.fill("team/app", "1", image)
        yield running


def host(server: RegistryServer) -> str:
    return server.url.partition("//")[2]


def read(server: RegistryServer, **options: Any) -> dict[str, bytes]:
    """Read the image from a registry."""
    settings = upstreams_of({"host": host(server), **options}) if options else {}
    with closing(Upstreams(settings, retry_timeout=1.0)) as upstreams:
        repository, image = upstreams.open(parse_reference(f"{host(server)}/team/app:1"))
        return read_image(repository, image.root)


def keep(folder: Path, server: RegistryServer, **files: Path) -> Path:
    """Put files for a registry into a folder of certificates; underscores in their names stand for dots."""
    registry_folder = folder / host(server)
    registry_folder.mkdir(parents=True)
    for name, file in files.items():
        shutil.copy(file, registry_folder / name.replace("_", "."))
    return registry_folder


def test_client_certificate_is_presented_to_registry(strict: RegistryServer, tmp_path: Path, image: Image) -> None:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")

    assert read(strict, ca_cert=cert, client_cert=cert, client_key=key) == image.contents


def test_certificate_and_key_may_be_in_one_file(strict: RegistryServer, tmp_path: Path, image: Image) -> None:
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "cert.pem").read_text() + (tmp_path / "key.pem").read_text())

    assert read(strict, ca_cert=str(both), client_cert=str(both)) == image.contents


def test_error_reports_required_client_certificate(strict: RegistryServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"requires a client certificate that it accepts") as caught:
        read(strict, ca_cert=str(tmp_path / "cert.pem"))

    assert str(caught.value).endswith("Set client_cert in upstreams, or add a certificate to certs.d.")


@pytest.mark.parametrize("folder", ["home/.config/containers/certs.d", "containers", "docker"])
def test_files_of_certs_d_are_used(strict: RegistryServer, tmp_path: Path, image: Image, folder: str) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    keep(tmp_path / folder, strict, ca_crt=cert, client_cert=cert, client_key=key)

    assert read(strict) == image.contents


def test_first_folder_with_registry_is_used(home: Path, tmp_path: Path) -> None:
    for folder in (home / ".config/containers/certs.d", tmp_path / "docker"):
        (folder / "example.com:5000").mkdir(parents=True)
    (tmp_path / "docker/example.com:5000/ca.crt").write_text("")
    (tmp_path / "docker/example.org").mkdir()
    (tmp_path / "docker/example.org/ca.crt").write_text("")

    assert find_tls_files("example.com:5000") == TlsFiles()
    assert find_tls_files("example.com") == TlsFiles()
    assert find_tls_files("example.org") == TlsFiles((str(tmp_path / "docker/example.org/ca.crt"),))


@pytest.mark.parametrize(("existing", "missing"), [("client.cert", "client.key"), ("client.key", "client.cert")])
def test_error_reports_certificate_without_key(home: Path, tmp_path: Path, existing: str, missing: str) -> None:
    (tmp_path / "docker/example.com").mkdir(parents=True)
    (tmp_path / "docker/example.com" / existing).write_text("")

    with pytest.raises(InputError, match=rf"/docker/example.com/{existing} requires {missing}"):
        find_tls_files("example.com")


def test_error_reports_encrypted_key_without_prompt(strict: RegistryServer, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", str(tmp_path / "key.pem"), "-aes256", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", str(locked)], check=True)

    with pytest.raises(InputError, match=r"and its key .*/locked.pem cannot be used") as caught:
        read(strict, client_cert=str(tmp_path / "cert.pem"), client_key=str(locked))

    assert "have no password" in str(caught.value)


def test_error_reports_missing_certificate(strict: RegistryServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the client certificate .*/none.pem or its key .*/none.pem does not exist"):
        read(strict, client_cert=str(tmp_path / "none.pem"))


def test_client_certificate_is_not_presented_to_storage(strict: RegistryServer, tmp_path: Path) -> None:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    (tmp_path / "other").mkdir()
    with tls_registry(tmp_path / "other", requires_certificate=True) as storage:
        both = tmp_path / "both.pem"
        both.write_text((tmp_path / "cert.pem").read_text() + (tmp_path / "other/cert.pem").read_text())
        strict.fail("GET", "/blobs/", Response(307, {"Location": f"{storage.url}/v2/team/app/blobs/x"}))

        with pytest.raises(SourceError, match=rf"{host(storage)} \(for {host(strict)}\) requires a client certificate"):
            read(strict, ca_cert=str(both), client_cert=cert, client_key=key)
