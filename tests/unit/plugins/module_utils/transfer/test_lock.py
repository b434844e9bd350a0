# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock file of a push: pushes write it, and locked pushes enforce it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    make_image,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import host, settings, source

Push = Callable[..., dict[str, Any]]

NAME = "example.com/team/app:1"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The path of a lock file that does not exist yet."""
    return tmp_path / "images.lock.json"


@pytest.fixture
def write_during_push(server: RegistryServer, lock: Path) -> Callable[[str], None]:
    """Sets the content that another run writes to the lock file during the push."""

    def write(content: str) -> None:
        def before_response(response: Response) -> Response:
            lock.write_text(content)
            return response

        server.fail("PUT", "/manifests/", before_response)

    return write


def read(lock: Path) -> dict[str, str]:
    """Return the entries of a lock file."""
    value = json.loads(lock.read_text())
    assert isinstance(value, dict)
    return value


def test_lock_file_has_full_names_after_push(
    push: Push, tmp_path: Path, lock: Path, image: Image, other_image: Image
) -> None:
    write_layout(tmp_path / "layout", {NAME: image, "busybox": other_image})

    result = push(
        f"oci:{tmp_path}/layout:{NAME}", {"source": f"oci:{tmp_path}/layout:busybox", "name": "busybox"}, lock=lock
    )

    assert result["changed"]
    assert lock.read_text() == (
        "{\n"
        f'  "docker.io/library/busybox:latest": "{other_image.digest}",\n'
        f'  "example.com/team/app:1": "{image.digest}"\n'
        "}\n"
    )


def test_lock_file_is_unchanged_with_same_entries(push: Push, tmp_path: Path, lock: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    push(f"oci:{tmp_path}/layout")
    lock.write_text(f'{{"{NAME}":\n"{image.digest}"}}')

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert not result["changed"]
    assert lock.read_text() == f'{{"{NAME}":\n"{image.digest}"}}'


def test_push_of_existing_image_changes_only_lock_file(push: Push, tmp_path: Path, lock: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    push(f"oci:{tmp_path}/layout")

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert result["changed"]
    assert [each["changed"] for each in result["images"]] == [False]
    assert result["diff"] == [
        {"before": "", "after": ""},
        {"before_header": str(lock), "after_header": str(lock), "before": "", "after": lock.read_text()},
    ]


def test_lock_file_keeps_entries_of_other_images(push: Push, tmp_path: Path, lock: Path, image: Image) -> None:
    lock.write_text(json.dumps({"team/other:1": digest_of(b"other"), NAME: digest_of(b"before")}))
    write_layout(tmp_path / "layout", {NAME: image})

    push(f"oci:{tmp_path}/layout", lock=lock)

    assert read(lock) == {"docker.io/team/other:1": digest_of(b"other"), NAME: image.digest}


def test_check_mode_reports_lock_without_writing_it(push: Push, tmp_path: Path, lock: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", {NAME: image})

    planned = push(f"oci:{tmp_path}/layout", lock=lock, check_mode=True)

    assert not lock.exists()
    assert planned == push(f"oci:{tmp_path}/layout", lock=lock)


def test_lock_file_keeps_old_entry_of_failed_image(
    push: Push, tmp_path: Path, lock: Path, image: Image, other_image: Image
) -> None:
    before = {NAME: digest_of(b"before")}
    lock.write_text(json.dumps(before))
    write_layout(tmp_path / "layout", {NAME: image, "other:1": other_image}, leave_out=image.layers[1:])

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert result["failed"]
    assert read(lock) == {**before, "docker.io/library/other:1": other_image.digest}


def test_lock_file_has_image_id_for_docker_archive(push: Push, tmp_path: Path, lock: Path, image: Image) -> None:
    archive = write_docker_archive(tmp_path / "app.tar", [([NAME], image)])

    push(f"docker-archive:{archive}", lock=lock)

    assert read(lock) == {NAME: digest_of(image.config)}
    assert "failed" not in push(f"docker-archive:{archive}", lock=lock, locked=True)


def test_lock_file_has_source_digest_for_selected_platforms(
    push: Push, tmp_path: Path, lock: Path, multi: Image
) -> None:
    write_layout(tmp_path / "layout", {NAME: multi})
    push({"source": f"oci:{tmp_path}/layout", "platforms": ["linux/amd64"]}, lock=lock)

    other_platform = push({"source": f"oci:{tmp_path}/layout", "platforms": ["linux/arm64"]}, lock=lock, locked=True)

    assert read(lock) == {NAME: multi.digest}
    assert "failed" not in other_platform


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_locked_push_rejects_other_digest_before_any_request(
    push: Push, server: RegistryServer, tmp_path: Path, lock: Path, image: Image, other_image: Image, kind: str
) -> None:
    write_layout(tmp_path / "oci", {NAME: image})
    write_oci_archive(tmp_path / "oci-archive", {NAME: image})
    write_docker_archive(tmp_path / "docker-archive", [([NAME], image)])
    lock.write_text(json.dumps({NAME: other_image.digest}))

    result = push(f"{kind}:{tmp_path}/{kind}", lock=lock, locked=True)

    found = digest_of(image.config) if kind == "docker-archive" else image.digest
    assert f"has {found} for {NAME}, and the lock file {lock} has {other_image.digest}" in result["msg"]
    assert not server.requests


def test_locked_push_rejects_only_image_without_entry(
    push: Push, server: RegistryServer, tmp_path: Path, lock: Path, image: Image, other_image: Image
) -> None:
    lock.write_text(json.dumps({NAME: image.digest}))
    write_layout(tmp_path / "layout", {NAME: image, "other:1": other_image})

    result = push(f"oci:{tmp_path}/layout", lock=lock, locked=True)

    assert [bool(each.get("error")) for each in result["images"]] == [False, True]
    assert f"the lock file {lock} has no digest for docker.io/library/other:1" in result["msg"]
    assert read(lock) == {NAME: image.digest}
    assert server.digest_of("team/app", "1") == image.digest


def test_locked_push_copies_locked_image_after_upstream_tag_moved(
    push: Push, server: RegistryServer, upstream: RegistryServer, lock: Path, image: Image, other_image: Image
) -> None:
    entry = {"source": source(upstream), "name": NAME}
    options = {"upstreams": settings(upstream), "lock": lock}
    upstream.fill("team/app", "1", image)
    push(entry, **options)
    upstream.fill("team/app", "1", other_image)
    server.manifests.clear()

    result = push(entry, **options, locked=True)

    assert result["images"][0]["name"] == NAME
    assert server.digest_of("team/app", "1") == image.digest


def test_lock_file_has_upstream_name_without_name_in_task(
    push: Push, upstream: RegistryServer, lock: Path, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    options = {"upstreams": settings(upstream), "lock": lock}

    push(source(upstream), **options)
    again = push(source(upstream), **options, locked=True)

    assert read(lock) == {f"{host(upstream)}/team/app:1": image.digest}
    assert again["images"][0]["name"] == f"{host(upstream)}/team/app:1"
    assert not again["changed"]


def test_locked_push_sends_no_request_for_upstream_image_without_entry(
    push: Push, upstream: RegistryServer, lock: Path, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    lock.write_text("{}")

    result = push(
        source(upstream),
        upstreams=settings(upstream),
        lock=lock,
        locked=True,
    )

    assert "has no digest for" in result["msg"]
    assert not upstream.requests


def test_locked_push_rejects_other_digest_in_task(
    push: Push, upstream: RegistryServer, lock: Path, image: Image, other_image: Image
) -> None:
    name = f"{host(upstream)}/team/app:1"
    upstream.fill("team/app", "1", image)
    lock.write_text(json.dumps({name: other_image.digest}))

    result = push(
        f"docker://{name}@{image.digest}",
        upstreams=settings(upstream),
        lock=lock,
        locked=True,
    )

    assert f"has {image.digest} for {name}, and the lock file {lock} has {other_image.digest}" in result["msg"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (encode({"a:1": "latest"}), "'latest' is not a digest"),
        (encode({"A:1": digest_of(b"")}), "'A:1' is not a valid image name"),
        (encode({"a:1": 7}), "a int is not a digest"),
    ],
)
def test_push_fails_with_damaged_lock_file(
    push: Push, server: RegistryServer, lock: Path, content: bytes, reason: str
) -> None:
    lock.write_bytes(content)

    with pytest.raises(InputError, match=f"the lock file .* is damaged: {reason}"):
        push("oci:/media/layout", lock=lock)

    assert not server.requests


def test_locked_push_fails_without_lock_file(push: Push, lock: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist\. Run once without locked to create it"):
        push("oci:/media/layout", lock=lock, locked=True)


def test_push_fails_without_folder_of_lock_file(push: Push, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the folder .*/missing, for the lock file, does not exist"):
        push("oci:/media/layout", lock=tmp_path / "missing" / "lock.json")


@pytest.mark.usefixtures("full_disk")
def test_lock_file_is_unchanged_when_disk_is_full(
    push: Push, server: RegistryServer, tmp_path: Path, lock: Path
) -> None:
    before = {f"example.com/team/app-{number:03}:1": digest_of(b"%d" % number) for number in range(625)}
    lock.write_text(json.dumps(before, separators=(",", ":")))
    image = make_image()
    write_layout(tmp_path / "layout", {NAME: image})

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert result["failed"]
    assert f"{lock} cannot be written: File too large" in result["msg"]
    assert result["images"][0]["digest"] == server.digest_of("team/app", "1") == image.digest
    assert read(lock) == before
    assert not list(tmp_path.glob(".*lock*"))


def test_lock_file_keeps_entry_written_during_push(
    push: Push, tmp_path: Path, lock: Path, image: Image, write_during_push: Callable[[str], None]
) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    other = {"docker.io/team/other:1": digest_of(b"other")}
    write_during_push(json.dumps(other))

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert read(lock) == {**other, NAME: image.digest}
    assert json.loads(result["diff"][1]["before"]) == other


def test_lock_file_has_digest_of_last_run_for_same_name(
    push: Push,
    server: RegistryServer,
    tmp_path: Path,
    lock: Path,
    image: Image,
    write_during_push: Callable[[str], None],
) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    push(f"oci:{tmp_path}/layout", lock=lock)
    server.manifests.clear()
    other = {NAME: digest_of(b"other")}
    write_during_push(json.dumps(other))

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert result["changed"]
    assert read(lock) == {NAME: image.digest}


def test_lock_file_is_unchanged_when_same_entry_is_written_during_push(
    push: Push, tmp_path: Path, lock: Path, image: Image, write_during_push: Callable[[str], None]
) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    written = json.dumps({NAME: image.digest})
    write_during_push(written)

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert lock.read_text() == written
    assert isinstance(result["diff"], dict)


def test_push_fails_when_lock_file_is_damaged_during_push(
    push: Push, tmp_path: Path, lock: Path, image: Image, write_during_push: Callable[[str], None]
) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    write_during_push("<<<<<<< HEAD")

    result = push(f"oci:{tmp_path}/layout", lock=lock)

    assert result["failed"]
    assert f"the lock file {lock} is damaged: it is not JSON" in result["msg"]
    assert lock.read_text() == "<<<<<<< HEAD"


def test_push_error_names_lock_file_encrypted_by_vault(push: Push, lock: Path, tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", {NAME: image})
    lock.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")

    with pytest.raises(InputError, match=f"the lock file {lock} is encrypted by Ansible Vault"):
        push(f"oci:{tmp_path}/layout", lock=lock)
