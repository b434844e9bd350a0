# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles with invalid descriptions: reading them ends with one clear error, in bounded time and memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, K8scrError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_folder import BundleFolder
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_store import verify_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.volume_destination import VolumesDestination
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.bundles import NAME, OTHER, write_bundle
from unit.plugins.module_utils.support.fuzzing import fuzzed
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.stores import read_image

SIZE = 64 << 10
DIGEST = f"sha256:{'a' * 64}"
EXTRA = {"path": "extras/a", "size": 1, "sha256": "a" * 64}
VALUES: list[Any] = [
    None,
    True,
    -1,
    1.5,
    1 << 60,
    10**400,
    "",
    "x",
    "../../etc/passwd",
    [],
    [[]],
    {},
    {"a": 1},
    "\n" * 9000,
]


def huge_image() -> Image:
    """Return an image with a layer that is cut."""
    return make_image(layer("huge", hashlib.shake_256(b"huge").digest(150 << 10)))


@pytest.fixture
def change(tmp_path: Path, image: Image) -> Callable[..., Path]:
    """Writes a bundle, changes members of its ``bundle.json``, and returns its folder."""

    def write(**members: Any) -> Path:
        write_bundle(BundleFolder(tmp_path / "bundle"), (NAME, image))
        path = tmp_path / "bundle/bundle.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
        return tmp_path / "bundle"

    return write


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"mediaType": "x"}, "its mediaType is not application/vnd.k8scr.bundle"),
        ({"schemaVersion": 2}, "it has the version '2' instead of 1. Update the collection"),
        ({"images": {}}, "its images are not a list of JSON objects"),
        ({"images": [{"name": NAME, "digest": "sha256:x", "size": 1}]}, "sha256:x"),
        ({"images": [{"name": NAME, "digest": DIGEST, "size": 1 << 60}]}, "a size is not a number from 0 to"),
        ({"images": [{"name": NAME, "digest": DIGEST, "size": 1}] * 2}, "its images have one name twice"),
        ({"images": [{"name": NAME, "digest": DIGEST, "size": 1}]}, f"for {NAME}, and bundle.json has {DIGEST}"),
        ({"omitted": {"x": {}}}, "digest"),
        ({"omitted": {DIGEST: {"size": 1, "repositories": "x"}}}, "its repositories are not a list of strings"),
        ({"extras": [{**EXTRA, "path": "../../etc/passwd"}]}, "'../../etc/passwd' cannot be the path of a file"),
        ({"extras": [{**EXTRA, "path": "/etc/passwd"}]}, "'/etc/passwd' cannot be the path of a file"),
        ({"extras": [{**EXTRA, "path": "blobs/sha256/x"}]}, "'blobs/sha256/x' cannot be the path of a file"),
        ({"extras": [EXTRA, {**EXTRA, "path": "EXTRAS/A"}]}, "its extras have one name twice"),
        ({"extras": [{**EXTRA, "sha256": "x"}]}, "a sha256 is not a SHA-256 sum"),
        ({"volumes": []}, "its volumes are not a JSON object"),
        ({"volumes": {"count": 10**9}}, "a count is not a number from 1 to 9999"),
        ({"complete": "true"}, "is incomplete"),
    ],
)
def test_invalid_description_is_one_error(change: Callable[..., Path], members: dict[str, Any], error: str) -> None:
    folder = change(**members)

    with pytest.raises(SourceError) as raised:
        open_bundle(folder)

    assert error in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_huge_description_is_rejected_unread(change: Callable[..., Path]) -> None:
    path = change() / "bundle.json"
    with path.open("r+b") as file:
        file.truncate(1 << 40)

    with pytest.raises(SourceError, match=r"bundle.json in .* has 1099511627776 bytes; the limit is"):
        open_bundle(path.parent)


@pytest.mark.parametrize(
    "sums", [b"x", b"\0" * 99, f"{'a' * 64}  ../../etc/passwd\n".encode(), f"{'a' * 64}  /etc/passwd\n".encode()]
)
def test_invalid_sums_are_a_fault(change: Callable[..., Path], sums: bytes) -> None:
    folder = change()
    (folder / "SHA256SUMS").write_bytes(sums)

    faults = list(verify_bundle(folder))

    assert "SHA256SUMS" in [fault.path for fault in faults]


def test_parts_with_wrong_sizes_are_an_error(tmp_path: Path) -> None:
    image = huge_image()
    write_bundle(VolumesDestination(tmp_path / "bundle", SIZE), (NAME, image))
    for path in (tmp_path / "bundle").glob("*/parts/*.2"):
        path.write_bytes(path.read_bytes() + b"more")

    with closing(open_bundle(tmp_path / "bundle")) as source:
        assert read_image(source, image.root) == image.contents
    (fault,) = verify_bundle(tmp_path / "bundle")
    assert "bytes instead of" in fault.problem
    for path in (tmp_path / "bundle").glob("*/parts/*.2"):
        path.write_bytes(path.read_bytes()[:100])
    with closing(open_bundle(tmp_path / "bundle")) as source, pytest.raises(SourceError, match=r"has \d+ bytes, but"):
        read_image(source, image.root)


def _error_of(path: Path) -> str:
    """Verify a bundle, and return the error, if any."""
    try:
        list(verify_bundle(path))
    except K8scrError as error:
        return str(error)
    return ""


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each JSON object and list below a value, with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _members(value[key])


@fuzzed
@given(st.data())
def test_changed_member_of_description_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    images = (NAME, huge_image()), (OTHER, make_image())
    write_bundle(VolumesDestination(folder, SIZE), *images, extras={"extras/a": b"more"})
    name = data.draw(st.sampled_from(["bundle.json", "volume.json"]))
    value = json.loads((folder / "volume-1" / name).read_text())
    container, key = data.draw(st.sampled_from(list(_members(value))))
    container[key] = data.draw(st.sampled_from(VALUES))
    (folder / "volume-1" / name).write_text(json.dumps(value))

    for path in (folder, folder / "volume-1"):
        assert len(_error_of(path)) < 2000
    # A new run repairs it.
    store = VolumesDestination(folder, SIZE)
    write_bundle(store, *images, extras={"extras/a": b"more"})
    assert list(store.verify()) == []


@pytest.mark.parametrize("link", ["blobs", "blobs/sha256", "parts", "extras"])
@pytest.mark.parametrize("kind", ["folder", "volumes"])
def test_link_in_existing_bundle_is_rejected_before_files_behind_it_are_deleted(
    tmp_path: Path, image: Image, kind: str, link: str
) -> None:
    def open_store() -> BundleFolder:
        return BundleFolder(tmp_path / "out") if kind == "folder" else VolumesDestination(tmp_path / "out", 1 << 20)

    write_bundle(open_store(), ("example.com/team/app:1", image))
    at = tmp_path / "out" / ("volume-1" if kind == "volumes" else "") / link
    at.mkdir(exist_ok=True)
    at.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/file").write_text("content")
    at.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DestinationError, match="is a link that may point outside the folder"):
        write_bundle(open_store())

    assert (tmp_path / "elsewhere/file").read_text() == "content"
