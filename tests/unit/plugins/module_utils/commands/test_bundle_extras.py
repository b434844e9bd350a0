# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``extras`` of ``k8scr_bundle``: collections and other files."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_extras import BundleExtras
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import BundleFile


def collect(tmp_path: Path, existing: Iterable[BundleFile] = (), **extras: Any) -> dict[BundleFile, Path | None]:
    """Return the files of an option ``extras``, for a bundle that may have some of them already."""
    folder = tmp_path / "downloads"
    folder.mkdir(exist_ok=True)
    return BundleExtras.from_options({"extras": extras}).collect(folder, list(existing))


def write_collection(folder: Path, name: str = "k8scr-core-1.0.0.tar.gz") -> str:
    """Write a file that looks like the tarball of a collection, and return its path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(gzip.compress(b"content"))
    return str(folder / name)


def test_extras_are_empty_without_option(tmp_path: Path) -> None:
    assert BundleExtras.from_options({"extras": None}).collect(tmp_path) == {}


def test_extras_have_path_size_and_sum_of_collection(tmp_path: Path) -> None:
    collection = write_collection(tmp_path)

    ((extra, local),) = collect(tmp_path, collections=[collection]).items()

    content = Path(collection).read_bytes()
    assert extra.path == "extras/collections/k8scr-core-1.0.0.tar.gz"
    assert (extra.size, extra.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert local == Path(collection)


def test_extras_reject_collection_that_is_no_tarball(tmp_path: Path) -> None:
    (tmp_path / "k8scr-core-1.0.0.tar.gz").write_text("text")
    with pytest.raises(InputError, match=r"is not the tarball of a collection\. .*collection build"):
        collect(tmp_path, collections=[str(tmp_path / "k8scr-core-1.0.0.tar.gz")])


def test_extras_have_files_below_folder_in_order(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    for name in ("values.yaml", "Chart.yaml", "templates/app.yaml"):
        (chart / name).write_text(name)
    (tmp_path / "manifest.yml").write_text("kind: Pod\n")

    extras = collect(tmp_path, files=[str(chart), str(tmp_path / "manifest.yml")])

    names = ["chart/Chart.yaml", "chart/templates/app.yaml", "chart/values.yaml", "manifest.yml"]
    assert [extra.path for extra in extras] == [f"extras/files/{name}" for name in names]


def test_extras_have_content_of_linked_file(tmp_path: Path) -> None:
    (tmp_path / "original").write_text("content")
    (tmp_path / "app.yml").symlink_to("original")

    (extra,) = collect(tmp_path, files=[str(tmp_path / "app.yml")])

    assert (extra.path, extra.size) == ("extras/files/app.yml", len("content"))


def test_extras_reject_link_to_folder_below_folder(tmp_path: Path) -> None:
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/loop").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"chart/loop is a link to a folder\. Copy the folder with cp -rL\."):
        collect(tmp_path, files=[str(tmp_path / "chart")])


def test_extras_reject_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "app.yml")
    with pytest.raises(SourceError, match="is not a regular file"):
        collect(tmp_path, files=[str(tmp_path / "app.yml")])


def test_extras_name_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing\.yml cannot be read: No such file or directory"):
        collect(tmp_path, files=[str(tmp_path / "missing.yml")])


def test_extras_reject_names_that_differ_in_case_only(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/app.yml").write_text("one")
    (tmp_path / "App.yml").write_text("other")
    with pytest.raises(InputError, match=r"two files extras/files/app\.yml"):
        collect(tmp_path, files=[str(tmp_path / "App.yml"), str(tmp_path / "one/app.yml")])


def test_extras_accept_file_that_is_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text("one")
    assert len(collect(tmp_path, files=[str(tmp_path / "app.yml")] * 2)) == 1


def test_extras_reject_name_that_media_cannot_store(tmp_path: Path) -> None:
    (tmp_path / "app:1.yml").write_text("one")
    with pytest.raises(InputError, match=r"'extras/files/app:1\.yml' cannot be the path of a file in a bundle"):
        collect(tmp_path, files=[str(tmp_path / "app:1.yml")])


def test_extras_copy_only_changed_files(tmp_path: Path) -> None:
    names = ("one.yml", "two.yml")
    for name in names:
        (tmp_path / name).write_text(name)
    files = [str(tmp_path / name) for name in names]
    before = collect(tmp_path, files=files)
    (tmp_path / "two.yml").write_text("changed")

    after = collect(tmp_path, before, files=files)

    assert list(after.values()) == [None, tmp_path / "two.yml"]
    assert next(iter(after)) == next(iter(before))
