# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write bundles to folders and archives."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Union

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_archive import BundleArchive
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_folder import BundleFolder
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import (
    BundleManifest,
    OmittedBlob,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import Location
from unit.plugins.module_utils.support.bundles import NAME, OTHER, description, write_bundle
from unit.plugins.module_utils.support.images import Image, make_image
from unit.plugins.module_utils.support.interruptions import files_of
from unit.plugins.module_utils.support.stores import blob, content_of, put, read_image

Store = Union[BundleFolder, BundleArchive]
OpenStore = Callable[[], Store]


@pytest.fixture(params=["oci", "oci-archive"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """The path of a bundle that does not exist yet."""
    return Location(request.param, tmp_path / "bundle")


@pytest.fixture
def open_store(location: Location) -> OpenStore:
    """Opens the bundle for writing."""

    def open_it() -> Store:
        return BundleFolder(location.path) if location.transport == "oci" else BundleArchive(location.path)

    return open_it


def test_bundle_has_the_written_images(open_store: OpenStore, location: Location, image: Image, multi: Image) -> None:
    write_bundle(open_store(), (NAME, image), (OTHER, multi))

    source = open_bundle(location.path)
    assert read_image(source, source.images(NAME)[0].root) == image.contents
    assert read_image(source, source.images(OTHER)[0].root) == multi.contents
    source.close()


def test_bundle_describes_its_content(open_store: OpenStore, location: Location, image: Image) -> None:
    write_bundle(open_store(), (NAME, image), extras={"extras/a.txt": b"more"})

    files = files_of(location)
    assert json.loads(files["bundle.json"]) == {
        "schemaVersion": 1,
        "mediaType": "application/vnd.k8scr.bundle.v1+json",
        "complete": True,
        "images": [{"name": NAME, "digest": image.digest, "size": image.root.size}],
        "extras": [{"path": "extras/a.txt", "size": 4, "sha256": hashlib.sha256(b"more").hexdigest()}],
    }
    assert json.loads(files["images.lock.json"]) == {NAME: image.digest}
    assert files["extras/a.txt"] == b"more"


def test_sums_of_bundle_are_valid_and_complete(
    open_store: OpenStore, location: Location, image: Image, tmp_path: Path
) -> None:
    sha512 = make_image(algorithm="sha512")
    write_bundle(open_store(), (NAME, image), (OTHER, sha512), extras={"extras/a b.txt": b"more"})
    folder = location.path
    if location.transport == "oci-archive":
        folder = tmp_path / "extracted"
        with tarfile.open(location.path) as archive:
            archive.extractall(folder, filter="data")

    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)

    listed = {line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed | {"SHA256SUMS"} == files_of(Location("oci", folder)).keys()


def test_bundle_is_incomplete_before_it_is_finished(
    open_store: OpenStore, location: Location, image: Image, other_image: Image
) -> None:
    write_bundle(open_store(), (NAME, image))
    again = open_store()
    again.begin()
    put(again, other_image, OTHER)
    again.commit()
    again.close()

    if location.transport == "oci":
        with pytest.raises(SourceError, match=r"is incomplete. Run the task with k8scr_bundle again"):
            open_bundle(location.path)
        assert open_store().bundle is None
    else:
        # The archive is replaced at the end.
        assert open_bundle(location.path).bundle == description((NAME, image))


def test_complete_bundle_is_known_to_the_next_run(open_store: OpenStore, image: Image) -> None:
    assert open_store().bundle is None
    write_bundle(open_store(), (NAME, image), extras={"extras/a.txt": b"more"})

    assert open_store().bundle == description((NAME, image), extras={"extras/a.txt": b"more"})


def test_interrupted_bundle_has_the_bytes_of_an_uninterrupted_one(
    open_store: OpenStore, location: Location, image: Image, large_image: Image
) -> None:
    images = (NAME, image), (OTHER, large_image)
    layers = [blob(digest, data) for _name, each in images for digest, data in each.blobs.items()]
    uninterrupted = open_store()
    uninterrupted.reserve(layers)
    write_bundle(uninterrupted, *images)
    expected = location.path.read_bytes() if location.transport != "oci" else files_of(location)
    _remove(location)

    stopped = open_store()
    stopped.begin()
    stopped.reserve(layers)
    stopped.put_blob(layers[-1], content_of(large_image.blobs[layers[-1].digest]))
    stopped.abandon(resumable=True)
    stopped.close()
    resumed = open_store()
    resumed.reserve(layers)
    write_bundle(resumed, *reversed(images))

    assert (location.path.read_bytes() if location.transport != "oci" else files_of(location)) == expected


def test_removed_image_leaves_no_blob(open_store: OpenStore, location: Location, image: Image, multi: Image) -> None:
    write_bundle(open_store(), (NAME, image))
    expected = files_of(location)
    write_bundle(open_store(), (NAME, image), (OTHER, multi), extras={"extras/sub/a.txt": b"more"})

    again = open_store()
    again.begin()
    again.remove([OTHER], ["extras/sub/a.txt"])
    again.finish(description((NAME, image)))

    assert files_of(location) == expected
    assert not (location.path / "extras").exists()


def test_extra_file_of_existing_bundle_is_kept(open_store: OpenStore, location: Location, image: Image) -> None:
    write_bundle(open_store(), (NAME, image), extras={"extras/a.txt": b"more"})

    again = open_store()
    again.begin()
    again.finish(description((NAME, image), extras={"extras/a.txt": b"more"}))

    assert files_of(location)["extras/a.txt"] == b"more"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up", "extras/../../up", "blobs/x", "Index.json", "a\nb", "a:b", ""]
)
def test_extra_file_with_unusable_path_is_rejected(open_store: OpenStore, path: str) -> None:
    store = open_store()

    with pytest.raises(InputError, match="cannot be the path of a file in a bundle"):
        store.add_file(path, b"content", 7)


def test_bundle_is_not_finished_without_a_listed_file(open_store: OpenStore, location: Location, image: Image) -> None:
    store = open_store()
    store.begin()
    put(store, image, NAME)
    store.commit()

    with pytest.raises(DestinationError, match=r"extras/a.txt in .* is missing"):
        store.finish(description((NAME, image), extras={"extras/a.txt": b"more"}))
    store.close()

    assert open_store().bundle is None


def test_bundle_is_not_finished_without_a_blob(open_store: OpenStore, image: Image) -> None:
    store = open_store()
    store.begin()
    put(store, Image(image.root, {image.digest: image.contents[image.digest]}), NAME)
    store.commit()

    with pytest.raises(DestinationError, match="does not have 3 blobs of its images"):
        store.finish(description((NAME, image)))


def test_delta_leaves_out_blobs_and_is_whole(open_store: OpenStore, location: Location, image: Image) -> None:
    omitted = image.layers[0]
    store = open_store()
    store.omitted = {omitted}
    store.begin()
    put(store, Image(image.root, {key: data for key, data in image.contents.items() if key != omitted}), NAME)
    store.commit()
    bundle = BundleManifest(
        description((NAME, image)).images, omitted={omitted: OmittedBlob(len(image.contents[omitted]), ("team/app",))}
    )
    store.finish(bundle)
    store.close()

    again = open_store()
    again.omitted = {omitted}
    assert again.bundle == bundle
    assert again.is_whole(image.root, tagged=True)
    assert f"blobs/{omitted.replace(':', '/')}" not in files_of(location)


def test_image_that_bundle_does_not_list_is_rejected(open_store: OpenStore, location: Location, image: Image) -> None:
    store = open_store()
    store.begin()
    put(store, image, NAME)
    store.commit()
    store.finish(BundleManifest())
    store.close()

    with pytest.raises(SourceError, match=f"has {image.digest} for {NAME}, and bundle.json has no image"):
        open_bundle(location.path)


def _remove(location: Location) -> None:
    if location.path.is_dir():
        shutil.rmtree(location.path)
    else:
        location.path.unlink()
