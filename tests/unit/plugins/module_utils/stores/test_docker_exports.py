# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push of many images of an engine needs disk space for a few exports at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import DockerArchiveSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_exports import Exports
from unit.plugins.module_utils.support.engine_server import EngineServer, Fault, classic
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_docker_archive
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

IMAGES = 40
NAMES = [f"app:{number}" for number in range(IMAGES)]
Run = Callable[..., dict[str, Any]]


class Disk:
    """Counts the exports in a folder. They are files without names, which this process has open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.most = 0

    @property
    def exports(self) -> int:
        """The number of different files in the folder that are open."""
        files = set()
        for descriptor in Path("/proc/self/fd").iterdir():
            # Other threads close files meanwhile.
            with suppress(OSError):
                if str(descriptor.readlink()).startswith(f"{self.folder}/"):
                    files.add(descriptor.stat().st_ino)
        return len(files)

    def look(self, *_request: object) -> None:
        """Count the exports now."""
        self.most = max(self.most, self.exports)


@pytest.fixture
def disk(tmp_path: Path, server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Counts the exports at each request to the engine and to the registry."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    disk = Disk(folder)
    respond = EngineServer.respond

    def counting(*request: Any) -> Fault:
        disk.look()
        return respond(*request)

    def guard(_path: str, _headers: Mapping[str, str]) -> Response | None:
        disk.look()
        return None

    monkeypatch.setattr(EngineServer, "respond", counting)
    server.guard = guard
    return disk


@pytest.fixture
def push_all(push: Run, engine: EngineServer, disk: Disk) -> Run:
    """Pushes 40 images of an engine, which have their first layer in common."""
    base = layer("base", b"shared")
    for name in NAMES:
        image = make_image(base, layer("name", name.encode()), layer("more", name.encode() * 2))
        engine.add(f"docker.io/library/{name}", classic(image))

    def run(*entries: Any, **options: Any) -> dict[str, Any]:
        return push(*(entries or NAMES), docker_host=engine.host, tmp_dest=str(disk.folder), **options)

    return run


def exports(engine: EngineServer) -> int:
    """Return the number of requested exports."""
    return sum(request.endswith("/get") for request in engine.requests)


@pytest.mark.parametrize("connections", [1, 3])
def test_push_keeps_as_many_exports_as_connections(
    push_all: Run, engine: EngineServer, disk: Disk, connections: int
) -> None:
    planned = push_all(check_mode=True, connections=connections, compression="none")
    exports_in_check_mode, disk_in_check_mode = exports(engine), disk.most
    engine.requests.clear()
    disk.most = 0

    done = push_all(connections=connections, compression="none")

    assert planned == done
    assert done["changed"] is True
    assert (exports_in_check_mode, disk_in_check_mode) == (IMAGES, connections)
    # Most images are exported twice: for the plan and for the upload.
    assert IMAGES <= exports(engine) <= 3 * IMAGES
    assert disk.most == connections
    assert disk.exports == 0


def test_push_exports_as_many_images_as_connections_once(push_all: Run, engine: EngineServer) -> None:
    push_all(*NAMES[:3], connections=3)

    assert exports(engine) == 3


def test_export_is_deleted_when_its_image_is_done(push_all: Run, server: RegistryServer, disk: Disk) -> None:
    seen: list[int] = []

    def wait_for_first_image(response: Response) -> Response:
        deadline = time.monotonic() + 2
        while disk.exports > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(disk.exports)
        return response

    server.fail("PUT", "manifests/1$", wait_for_first_image)

    push_all(*NAMES[:2], connections=2)

    assert (disk.most, seen, disk.exports) == (2, [1], 0)


@pytest.mark.parametrize("platforms", [["linux/amd64"], None])
def test_export_of_failed_image_is_deleted_while_the_others_arrive(
    push_all: Run, server: RegistryServer, disk: Disk, platforms: list[str] | None
) -> None:
    server.fail("PUT", "manifests/7$", error_response(400, "MANIFEST_INVALID", "not this one"))

    result = push_all(*({"source": name, "platforms": platforms} for name in NAMES), connections=2)

    assert result["msg"].startswith("1 of 40 images failed.\ndocker.io/library/app:7: ")
    assert (disk.most, disk.exports) == (2, 0)


def test_full_disk_names_number_of_exports_at_once(
    push_all: Run, engine: EngineServer, large_image: Image, request: pytest.FixtureRequest
) -> None:
    engine.add("docker.io/library/large:1", classic(large_image))
    request.getfixturevalue("full_disk")

    error = push_all("large:1", connections=4)["msg"]

    assert "set tmp_dest to a folder with enough disk space, or lower connections: up to 4 images" in error


@pytest.fixture
def make(path: Path, image: Image) -> Callable[[], DockerArchiveSource]:
    """Makes an export."""
    write_docker_archive(path, [(["app:1"], image)])
    return lambda: DockerArchiveSource(TarFiles(path))


def test_new_export_waits_for_the_readers_of_others(make: Callable[[], DockerArchiveSource]) -> None:
    exports = Exports(1)
    order = []

    def read_second() -> None:
        with exports.open("second", make):
            order.append("second")

    with exports.open("first", make):
        waiting = threading.Thread(target=read_second)
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join()

    assert order == ["first", "second"]


def test_failed_export_is_made_again(make: Callable[[], DockerArchiveSource]) -> None:
    exports = Exports(1)

    def fail() -> DockerArchiveSource:
        raise SourceError("the export failed")

    with pytest.raises(SourceError), exports.open("first", fail):
        pass

    with exports.open("second", make) as second, exports.open("second", fail) as again:
        assert second is again
