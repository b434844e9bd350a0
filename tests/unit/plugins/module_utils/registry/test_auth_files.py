# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials from the files and programs of other container tools."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.auth_files import Credentials, find_credentials


def entry(username: str, password: str | None = None) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password or 'secret'}".encode()).decode()}


def write(path: Path, **value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_helper(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder, with a folder ``bin`` for programs."""
    for name in ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return tmp_path


def username(host: str, repository: str = "team/api") -> str | None:
    found = find_credentials(host, repository)
    return found.username if found else None


def test_no_credentials_are_found_without_files(home: Path) -> None:
    assert find_credentials("example.com", "team/api") is None


def test_auth_of_docker_login_contains_user_and_password(home: Path) -> None:
    path = write(home / ".docker/config.json", auths={"example.com:5000": entry("me", "a:b")})

    assert find_credentials("example.com:5000", "team/api") == Credentials("me", "a:b", origin=str(path))


def test_user_and_password_may_have_own_keys(home: Path) -> None:
    write(home / ".docker/config.json", auths={"example.com": {"username": "me", "password": "secret"}})

    assert username("example.com") == "me"


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io", "https://docker.io"]
)
def test_docker_hub_is_found_under_all_its_names(home: Path, key: str) -> None:
    write(home / ".docker/config.json", auths={key: entry("me")})

    assert username("docker.io") == "me"


@pytest.mark.parametrize("key", ["https://example.com", "http://example.com/v2/", "example.com"])
def test_scheme_and_path_of_key_are_ignored(home: Path, key: str) -> None:
    write(home / ".docker/config.json", auths={key: entry("me")})

    assert username("example.com") == "me"


def test_credentials_of_other_registry_are_not_used(home: Path) -> None:
    write(home / ".docker/config.json", auths={"example.com": entry("me"), "example.com:443": entry("you")})

    assert username("example.com:5000") is None
    assert username("other.example.com") is None


def test_most_specific_key_is_used(home: Path) -> None:
    auths = {"example.com": entry("all"), "example.com/team": entry("team"), "example.com/team/api": entry("api")}
    write(home / "run/containers/auth.json", auths=auths)

    assert username("example.com", "team/api") == "api"
    assert username("example.com", "team/web") == "team"
    assert username("example.com", "teams/web") == "all"


def test_first_file_with_registry_is_used(home: Path) -> None:
    write(home / ".docker/config.json", auths={"a.example.com": entry("docker"), "b.example.com": entry("docker")})
    write(home / ".config/containers/auth.json", auths={"b.example.com": entry("config")})
    write(home / "run/containers/auth.json", auths={"c.example.com": entry("run"), "b.example.com": {}})

    assert username("a.example.com") == "docker"
    assert username("b.example.com") == "config"
    assert username("c.example.com") == "run"


def test_docker_config_sets_folder_of_docker(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".docker/config.json", auths={"example.com": entry("usual")})
    write(home / "other/config.json", auths={"example.com": entry("other")})
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "other"))

    assert username("example.com") == "other"


def test_registry_auth_file_replaces_other_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".docker/config.json", auths={"example.com": entry("docker")})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(home / "auth.json", auths={"other.example.com": entry("me")})))

    assert username("other.example.com") == "me"
    assert username("example.com") is None


def test_error_reports_missing_registry_auth_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/nowhere/auth.json")

    with pytest.raises(InputError, match=r"/nowhere/auth\.json, which does not exist"):
        find_credentials("example.com", "team/api")


def test_docker_auth_config_precedes_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auths = {"a.example.com": entry("file"), "b.example.com": entry("file")}
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(home / "auth.json", auths=auths)))
    given = {"auths": {"a.example.com": entry("me", "secret")}, "credsStore": "evil"}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(given))

    assert find_credentials("a.example.com", "x") == Credentials("me", "secret", origin="DOCKER_AUTH_CONFIG")
    assert username("b.example.com") == "file"


def test_error_reports_damaged_docker_auth_config_without_its_content(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", '{"auths": secret}')

    with pytest.raises(InputError, match="the credentials in DOCKER_AUTH_CONFIG cannot be read: not JSON") as caught:
        find_credentials("example.com", "team/api")

    assert "secret" not in str(caught.value)


def test_tokens_are_found(home: Path) -> None:
    auths = {"a.example.com": {**entry("me"), "identitytoken": "refresh"}, "b.example.com": {"registrytoken": "bearer"}}
    write(home / ".docker/config.json", auths=auths)

    a, b = (find_credentials(host, "team/api") for host in ("a.example.com", "b.example.com"))

    assert a is not None
    assert a.identity_token == "refresh"
    assert b is not None
    assert b.registry_token == "bearer"


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": {"example.com": {"auth": "not base64 at all, secret"}}}'])
def test_error_reports_damaged_file_without_its_content(home: Path, content: str) -> None:
    write(home / ".docker/config.json").write_text(content)

    with pytest.raises(InputError, match=r"\.docker/config\.json cannot be read") as caught:
        find_credentials("example.com", "team/api")

    assert "secret" not in str(caught.value)


def test_values_of_wrong_type_are_ignored(home: Path) -> None:
    write(home / ".docker/config.json", auths={"example.com": "me", "b.example.com": {"auth": 1}}, credHelpers=[])

    assert username("example.com") is None
    assert username("b.example.com") is None


def test_credential_helper_is_run_for_its_registry(home: Path) -> None:
    write_helper(home / "bin", "mine", 'read host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"$1\\"}"')
    write(home / ".docker/config.json", credHelpers={"example.com": "mine"}, auths={"other.example.com": entry("me")})

    assert find_credentials("example.com", "team/api") == Credentials(
        "example.com", "get", origin="docker-credential-mine"
    )
    assert username("other.example.com") == "me"


def test_credentials_store_is_run_for_every_registry(home: Path) -> None:
    write_helper(home / "bin", "all", 'read host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"x\\"}"')
    write(home / ".docker/config.json", credsStore="all", auths={"example.com": {}})

    assert username("example.com") == "example.com"
    assert username("docker.io") == "https://index.docker.io/v1/"


def test_file_is_used_if_helper_has_no_credentials(home: Path) -> None:
    write_helper(home / "bin", "none", "echo credentials not found in native keychain; exit 1")
    write(home / ".docker/config.json", credsStore="none", auths={"example.com": entry("me")})

    assert username("example.com") == "me"
    assert username("docker.io") is None


def test_helper_may_return_identity_token(home: Path) -> None:
    write_helper(home / "bin", "token", """echo '{"Username": "<token>", "Secret": "refresh"}'""")
    write(home / ".docker/config.json", credsStore="token")

    found = find_credentials("example.com", "team/api")

    assert found is not None
    assert found.identity_token == "refresh"
    assert not found.username


@pytest.mark.parametrize("script", ["echo a secret; exit 1", "echo a secret", "echo '\"secret\"'", "echo '{}'"])
def test_error_does_not_show_output_of_helper(home: Path, script: str) -> None:
    write_helper(home / "bin", "bad", script)
    write(home / ".docker/config.json", credsStore="bad")

    with pytest.raises(InputError, match=r"docker-credential-bad returned no credentials for example\.com") as caught:
        find_credentials("example.com", "team/api")

    assert "secret" not in str(caught.value)


def test_error_reports_missing_helper(home: Path) -> None:
    write(home / ".docker/config.json", credsStore="desktop")

    with pytest.raises(InputError, match=r"docker-credential-desktop of .*config\.json cannot be run"):
        find_credentials("example.com", "team/api")


def test_error_reports_helper_with_path(home: Path) -> None:
    write(home / ".docker/config.json", credsStore="../../bin/sh")

    with pytest.raises(InputError, match="which is not a valid name"):
        find_credentials("example.com", "team/api")


def test_repr_of_credentials_contains_no_secrets() -> None:
    shown = repr(Credentials("me", "secret", "secret", "secret"))

    assert "me" in shown
    assert "secret" not in shown


def test_error_names_file_encrypted_by_ansible_vault(home: Path) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir(parents=True)
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")

    with pytest.raises(InputError, match=f"{path} is encrypted by Ansible Vault"):
        find_credentials("registry.example.com", "team/api")
