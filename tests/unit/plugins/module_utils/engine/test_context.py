# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the endpoint of an engine by options, variables and contexts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.context import (
    DEFAULT_HOST,
    EngineEndpoint,
    EngineTls,
    find_endpoint,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.settings import DockerSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError

ELSEWHERE = "tcp://engine.example.com:2376"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The empty configuration folder of Docker's client (DOCKER_CONFIG)."""
    path = tmp_path / "docker"
    path.mkdir()
    return path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """The environment variables, which tests extend."""
    return {"DOCKER_CONFIG": str(folder)}


def add_context(folder: Path, name: str, docker: Any, tls: tuple[str, ...] = ()) -> Path:
    """Write a context like ``docker context create``, and return the folder of its TLS files."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    files = folder / "contexts/tls" / digest / "docker"
    for file in tls:
        files.mkdir(parents=True, exist_ok=True)
        (files / file).touch()
    return files


def test_endpoint_defaults_to_the_local_engine(environment: dict[str, str]) -> None:
    assert find_endpoint(DockerSettings(), environment) == EngineEndpoint(DEFAULT_HOST)


@pytest.mark.parametrize(
    ("options", "variables", "host"),
    [
        (("unix:///a", None), {"DOCKER_HOST": "unix:///b", "DOCKER_CONTEXT": "lab"}, "unix:///a"),
        ((None, "lab"), {"DOCKER_HOST": "unix:///b"}, "ssh://lab"),
        ((None, None), {"DOCKER_HOST": "unix:///b", "DOCKER_CONTEXT": "lab"}, "unix:///b"),
        ((None, None), {"DOCKER_CONTEXT": "lab"}, "ssh://lab"),
        ((None, None), {}, "ssh://current"),
        ((None, None), {"DOCKER_CONTEXT": "default"}, DEFAULT_HOST),
        ((None, "default"), {"DOCKER_HOST": "unix:///b"}, "unix:///b"),
    ],
)
def test_options_override_variables_and_host_overrides_context(
    folder: Path,
    environment: dict[str, str],
    options: tuple[str | None, str | None],
    variables: dict[str, str],
    host: str,
) -> None:
    for name in ("lab", "current"):
        add_context(folder, name, {"Host": f"ssh://{name}"})
    (folder / "config.json").write_text(json.dumps({"currentContext": "current"}))

    assert find_endpoint(DockerSettings(*options), {**environment, **variables}).host == host


def test_host_and_context_together_are_rejected(environment: dict[str, str]) -> None:
    with pytest.raises(InputError, match="docker_host and docker_context are mutually exclusive"):
        find_endpoint(DockerSettings("unix:///a", "lab"), environment)


@pytest.mark.parametrize("how", ["option", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"])
def test_tls_uses_existing_files(folder: Path, environment: dict[str, str], how: str) -> None:
    for file in ("ca.pem", "cert.pem", "key.pem"):
        (folder / file).touch()
    variables = {**environment, "DOCKER_HOST": ELSEWHERE}
    if how != "option":
        variables[how] = str(folder) if how == "DOCKER_CERT_PATH" else "1"

    endpoint = find_endpoint(DockerSettings(cert_path=str(folder) if how == "option" else None), variables)

    assert endpoint == EngineEndpoint(ELSEWHERE, EngineTls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem"))


def test_missing_tls_folder_is_reported(environment: dict[str, str]) -> None:
    with pytest.raises(InputError, match="the folder /no/such for the engine's TLS files does not exist"):
        find_endpoint(DockerSettings(ELSEWHERE, cert_path="/no/such"), environment)


def test_context_has_its_own_tls_files(folder: Path, environment: dict[str, str]) -> None:
    files = add_context(folder, "lab", {"Host": ELSEWHERE, "SkipTLSVerify": True}, tls=("ca.pem",))

    endpoint = find_endpoint(DockerSettings(context="lab"), environment)

    assert endpoint == EngineEndpoint(ELSEWHERE, EngineTls(files / "ca.pem", None, None, verify=False))


def test_missing_context_is_reported_with_existing_contexts(folder: Path, environment: dict[str, str]) -> None:
    for name in ("lab", "attic"):
        add_context(folder, name, {"Host": "ssh://lab"})
    (folder / "contexts/meta/broken").mkdir()
    (folder / "contexts/meta/broken/meta.json").write_text("{")

    with pytest.raises(InputError, match=r"Docker context 'cellar' does not exist in .*Existing contexts: attic, lab"):
        find_endpoint(DockerSettings(context="cellar"), environment)


@pytest.mark.parametrize("docker", [None, {}, [], "x", {"Host": 7}, {"Host": ""}])
def test_context_without_docker_endpoint_is_reported(folder: Path, environment: dict[str, str], docker: Any) -> None:
    add_context(folder, "lab", docker)

    with pytest.raises(InputError, match="Docker context lab has no Docker endpoint"):
        find_endpoint(DockerSettings(context="lab"), environment)


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "is not JSON"), (b"[" * 100_000, "is not JSON"), (b"[]", "is not a JSON object")]
)
def test_damaged_configuration_is_reported(
    folder: Path, environment: dict[str, str], content: bytes, words: str
) -> None:
    (folder / "config.json").write_bytes(content)

    with pytest.raises(InputError, match=rf"config.json {words}"):
        find_endpoint(DockerSettings(), environment)


def test_configuration_without_context_means_the_local_engine(folder: Path, environment: dict[str, str]) -> None:
    (folder / "config.json").write_text(json.dumps({"auths": {}}))

    assert find_endpoint(DockerSettings(), environment).host == DEFAULT_HOST
