# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locations: parse and open sources and destinations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores import location as stores_location
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import (
    DockerArchiveDestination,
    DockerArchiveSource,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import (
    Location,
    open_destination,
    open_source,
    parse_location,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import (
    OciLayoutDestination,
    OciLayoutSource,
)
from unit.plugins.module_utils.support.images import (
    Image,
    tar,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.tar_entries import free_descriptor


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("oci:/media/layout", Location("oci", Path("/media/layout"))),
        ("oci:layout:api", Location("oci", Path("layout"), "api")),
        (
            "oci-archive:/a.tar:example.com:5000/api:1",
            Location("oci-archive", Path("/a.tar"), "example.com:5000/api:1"),
        ),
        ("docker-archive:/a.tar:api:1", Location("docker-archive", Path("/a.tar"), "docker.io/library/api:1")),
        ("docker-archive:/a.tar:api", Location("docker-archive", Path("/a.tar"), "docker.io/library/api:latest")),
        ("docker-archive:/a.tar:@2", Location("docker-archive", Path("/a.tar"), "@2")),
        ("oci:/media/layout:", Location("oci", Path("/media/layout"))),
        ("/media/a.tar", Location("", Path("/media/a.tar"))),
        ("/media/a.tar:api:1", Location("", Path("/media/a.tar"), "api:1")),
        ("./layout", Location("", Path("layout"))),
        ("../layout", Location("", Path("../layout"))),
        ("docker-daemon:api:1", Location("docker-daemon", Path(), "api:1")),
        ("docker-daemon:", Location("docker-daemon", Path())),
        ("api", Location("docker-daemon", Path(), "api")),
        ("api:1", Location("docker-daemon", Path(), "api:1")),
        ("oci", Location("docker-daemon", Path(), "oci")),
        ("example.com:5000/team/api:1", Location("docker-daemon", Path(), "example.com:5000/team/api:1")),
    ],
)
def test_location_has_transport_path_and_name(text: str, location: Location) -> None:
    assert parse_location(text) == location


def test_location_expands_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert parse_location("oci:~/layout").path == parse_location("~/layout").path == tmp_path / "layout"


def test_location_keeps_unknown_home_folder_as_missing_path() -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(parse_location("~nobody-of-that-name/layout"))


def test_existing_path_can_contain_a_colon(tmp_path: Path) -> None:
    (tmp_path / "app:1.tar").touch()

    assert parse_location(f"{tmp_path}/app:1.tar") == Location("", tmp_path / "app:1.tar")


@pytest.mark.parametrize("text", ["", "docker://app", "ftp:/a.tar", "OCI:/layout", "Busybox"])
def test_invalid_location_is_rejected_with_valid_transports(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a valid location of an image. Write oci:PATH\[:NAME\], oci-archive:"):
        parse_location(text)


@pytest.mark.parametrize("text", ["oci:", "oci::api", "docker-archive:"])
def test_location_without_path_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="has no path"):
        parse_location(text)


def test_invalid_docker_archive_name_is_rejected() -> None:
    with pytest.raises(InputError, match="'Team/App' is not a valid image name"):
        parse_location("docker-archive:/a.tar:Team/App")


def test_transport_of_path_is_detected(tmp_path: Path, image: Image) -> None:
    layout = write_layout(tmp_path / "layout", {"app:1": image})
    oci = write_oci_archive(tmp_path / "oci.tar", {"app:1": image})
    docker = write_docker_archive(tmp_path / "docker.tar", [(["app:1"], image)])

    opened = [open_source(parse_location(str(path))) for path in (layout, oci, docker)]

    assert [type(source) for source in opened] == [OciLayoutSource, OciLayoutSource, DockerArchiveSource]
    assert [len(source.images("app:1")) for source in opened] == [1, 1, 1]


def test_unknown_archive_format_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "thesis.tar").write_bytes(tar(("thesis.txt", b"It follows that")))

    with pytest.raises(
        SourceError, match=r"thesis.tar is not an image archive: it has neither index.json nor manifest"
    ):
        open_source(parse_location(f"{tmp_path}/thesis.tar"))


def test_missing_path_is_reported_with_the_host_to_check() -> None:
    with pytest.raises(SourceError, match=r"/media/app.tar does not exist. Sources are read on the host that runs"):
        open_source(parse_location("oci-archive:/media/app.tar"))


def test_unreadable_path_is_reported() -> None:
    with pytest.raises(SourceError, match=r"cannot be read: File name too long|does not exist"):
        open_source(parse_location(f"/{'a' * 300}"))


def test_archive_is_rejected_as_layout(tmp_path: Path, image: Image) -> None:
    write_oci_archive(tmp_path / "app.tar", {"app": image})

    with pytest.raises(SourceError, match=r"is not a folder. For an archive, write oci-archive: or docker-archive:"):
        open_source(parse_location(f"oci:{tmp_path}/app.tar"))


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_layout_is_rejected_as_archive(tmp_path: Path, image: Image, transport: str) -> None:
    write_layout(tmp_path / "layout", {"app": image})

    with pytest.raises(SourceError, match=r"is a folder, not an archive. For an OCI layout, write oci:"):
        open_source(parse_location(f"{transport}:{tmp_path}/layout"))


def test_destination_is_opened_for_each_transport(tmp_path: Path) -> None:
    opened = [
        open_destination(parse_location(f"{transport}:{tmp_path}/app"))
        for transport in ("oci", "oci-archive", "docker-archive")
    ]

    assert [type(each) for each in opened] == [OciLayoutDestination, OciArchiveDestination, DockerArchiveDestination]
    assert list(tmp_path.iterdir()) == []


def test_destination_path_without_transport_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no transport. Write oci:PATH"):
        open_destination(parse_location(f"{tmp_path}/app.tar"))


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_rejected_archive_is_closed(tmp_path: Path, transport: str) -> None:
    (tmp_path / "other.tar").write_bytes(tar(("README", b"hello")))
    free = free_descriptor()

    with pytest.raises(SourceError, match=r"index\.json|manifest\.json"):
        open_source(Location(transport, tmp_path / "other.tar"))
    with pytest.raises(DestinationError, match="is not an OCI archive"):
        open_destination(Location(transport, tmp_path / "other.tar"))

    assert free_descriptor() == free


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", ""])
def test_pipe_is_rejected_without_blocking(tmp_path: Path, transport: str) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SourceError, match="pipe is not a regular file"):
        open_source(Location(transport, tmp_path / "pipe"))


@pytest.mark.parametrize(("module", "opens"), [("k8scr_push", "open_source"), ("k8scr_pull", "open_destination")])
def test_task_with_layout_imports_no_code_of_other_transports(
    module: str, opens: str, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"example.com/team/app:1": image})
    program = (
        "import sys; from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores import location\n"
        f"from ansible_collections.k8scr.core.plugins.modules import {module}\n"
        f"location.{opens}(location.parse_location(sys.argv[1])).close()\n"
        "print(*(name.partition('_k8scr.')[2] for name in sys.modules if 'k8scr.core' in name))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, f"oci:{tmp_path}"], check=True, capture_output=True, text=True
    )

    imported = set(done.stdout.split())
    assert "stores.oci_layout" in imported
    unwanted = {
        "engine.client",
        "files.tar_reader",
        "registry.auth",
        "registry.referrers",
        "registry.upstream_adapter",
        "stores.docker_archive",
        "stores.oci_archive",
        "transfer.lock",
        "transfer.platforms",
    }
    folder = Path(stores_location.__file__).parents[1]
    assert all((folder / f"{name.replace('.', '/')}.py").exists() for name in unwanted)
    assert not imported & unwanted
