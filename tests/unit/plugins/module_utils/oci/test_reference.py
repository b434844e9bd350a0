# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse references."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import (
    Reference,
    parse_reference,
    parse_workload_reference,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("crossplane/crossplane:v1.2.1", "docker.io/crossplane/crossplane:v1.2.1"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
    ],
)
def test_reference_defaults_to_docker_hub(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("registry.example.com/app", "registry.example.com"),
        ("localhost/app", "localhost"),
        ("bastion:5000/app", "bastion:5000"),
        ("10.0.0.1:5000/team/app", "10.0.0.1:5000"),
        ("[fd00::1]:5000/app", "[fd00::1]:5000"),
        ("Registry/app", "Registry"),
    ],
)
def test_reference_starts_with_host_if_the_first_part_looks_like_one(text: str, host: str) -> None:
    assert parse_reference(text).host == host


@pytest.mark.parametrize(
    ("host", "component"),
    [
        ("registry.example.com", "registry.example.com"),
        ("Bastion:5000", "bastion_5000"),
        ("[fd00::1]", "fd00-0000-0000-0000-0000-0000-0000-0001"),
        ("[::1]:5000", "0000-0000-0000-0000-0000-0000-0000-0001_5000"),
        ("[FD00::]:5000", "fd00-0000-0000-0000-0000-0000-0000-0000_5000"),
        ("[::ffff:102:304]", "0000-0000-0000-0000-0000-ffff-0102-0304"),
    ],
)
def test_qualified_repository_starts_with_valid_component_for_host(host: str, component: str) -> None:
    repository = parse_reference(f"{host}/app:1").repository(qualify=True)

    assert repository == f"{component}/app"
    assert parse_reference(f"registry.example.com/{repository}").path == repository


@pytest.mark.parametrize("host", ["[fd00::1::2]", "[::::]:5000", "[fd00]:5000", "[::1]:0", "bastion:99999"])
def test_reference_rejects_host_that_is_no_address(host: str) -> None:
    with pytest.raises(InputError, match="not a valid registry host"):
        parse_reference(f"{host}/app")


def test_reference_has_default_host_if_the_first_part_has_no_dot_or_port() -> None:
    assert parse_reference("team/app") == Reference("docker.io", "team/app", "latest")


def test_reference_distinguishes_port_from_tag() -> None:
    assert parse_reference("bastion:5000/app") == Reference("bastion:5000", "app", "latest")


def test_reference_with_digest_has_no_default_tag() -> None:
    assert parse_reference(f"team/app@{DIGEST}") == Reference("docker.io", "team/app", None, DIGEST)


def test_reference_keeps_tag_and_digest() -> None:
    assert str(parse_reference(f"team/app:1@{DIGEST}")) == f"docker.io/team/app:1@{DIGEST}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Busybox",
        "team//app",
        "/app",
        "team/app/",
        "team/-app",
        "team/app_",
        "team/a..b",
        "team/app:",
        "team/app:-1",
        "team/app:" + "1" * 129,
        "team/app@",
        "team/app@sha256:abc",
        "example.com:port/app",
        "exa_mple.com/app",
        "team/../app",
        "team/app\n",
        "team/app:1\n",
        "https://example.com/app",
        "example.com/" + "a" * 256,
    ],
)
def test_invalid_reference_is_rejected_with_advice(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_reference(text)

    assert caught.value.advice


def test_host_with_underscore_is_rejected_with_reason() -> None:
    with pytest.raises(InputError, match="'my_host:5000' is not a valid registry host: it has an underscore") as caught:
        parse_reference("my_host:5000/x")

    assert caught.value.advice
    assert "another name of this host or its address" in caught.value.advice


@pytest.mark.parametrize(
    "text", ["me:pw@example.com/app", "me:p/w@example.com/app", "me:p@w@example.com:5000/app", "me:pw@example.com"]
)
def test_reference_with_credentials_is_rejected_without_them(text: str) -> None:
    with pytest.raises(
        InputError, match=r"^the name of an image has credentials before its registry\. .* upstreams\.$"
    ):
        parse_reference(text)


def test_upper_case_reference_is_rejected_with_reason() -> None:
    with pytest.raises(InputError, match="upper case is not allowed"):
        parse_reference("example.com/Team/app")


@pytest.mark.parametrize("text", ["a" * 255, "team/a__b", "team/a---b", "team/a.b_c", "team/app:" + "1" * 128])
def test_valid_reference_is_accepted(text: str) -> None:
    assert parse_reference(f"example.com/{text}").host == "example.com"


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("my_registry.example.com/team/app:1", "my_registry.example.com", "team/app"),
        ("my__registry.example.com/app:1", "my__registry.example.com", "app"),
        ("my_registry:5000/team/app:1", "my_registry:5000", "team/app"),
        ("My_Registry/app:1", "My_Registry", "app"),
        ("registry_1.docker.io/app:1", "registry_1.docker.io", "app"),
        ("my_team/app:1", "docker.io", "my_team/app"),
        ("quay.io/my_team/app:1", "quay.io", "my_team/app"),
        ("app:1", "docker.io", "library/app"),
    ],
)
def test_reference_of_workload_keeps_host_with_underscores(text: str, host: str, path: str) -> None:
    assert parse_workload_reference(text) == Reference(host, path, "1")


@pytest.mark.parametrize(
    "host", ["_registry.example.com", "registry_.example.com", "my_registry:0", "my_registry..com"]
)
def test_reference_of_workload_rejects_invalid_host(host: str) -> None:
    with pytest.raises(InputError, match="not a valid registry host"):
        parse_workload_reference(f"{host}/app")


def test_repository_in_the_cluster_has_no_host() -> None:
    assert parse_reference("quay.io/team/app:1").repository() == "team/app"


def test_qualified_repository_starts_with_the_host() -> None:
    assert parse_reference("quay.io/team/app:1").repository(qualify=True) == "quay.io/team/app"


def test_qualified_repository_is_a_valid_path_for_all_hosts() -> None:
    assert parse_reference("Bastion:5000/app").repository(qualify=True) == "bastion_5000/app"
