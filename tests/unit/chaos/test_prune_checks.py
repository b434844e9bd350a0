# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of the campaign of prunes with faults, on the storage of a registry in a folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from chaos.prunes.checks import PruneOutcome, PushedTag, check_contents, check_tags
from chaos.prunes.model import Rules, Use, expect
from chaos.prunes.plan import CONCURRENT_REPOSITORY
from chaos.prunes.storage import Storage


class Writer:
    """Writes the storage of CNCF distribution."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "docker/registry/v2"

    def blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._write(self.data(f"sha256:{digest}"), content)
        return f"sha256:{digest}"

    def data(self, digest: str) -> Path:
        name = digest.partition(":")[2]
        return self.root / "blobs/sha256" / name[:2] / name / "data"

    def layer_link(self, repository: str, digest: str) -> Path:
        return self.root / "repositories" / repository / "_layers" / digest.replace(":", "/") / "link"

    def manifest(self, repository: str, value: dict[str, Any], *tags: str) -> str:
        digest = self.blob(json.dumps(value).encode())
        folder = self.root / "repositories" / repository / "_manifests"
        self._write(folder / "revisions" / digest.replace(":", "/") / "link", digest.encode())
        for tag in tags:
            self._write(folder / "tags" / tag / "current/link", digest.encode())
        return digest

    def image(self, repository: str, content: str, *tags: str) -> str:
        config, layer = self.blob(f"config of {content}".encode()), self.blob(content.encode())
        for digest in (config, layer):
            self._write(self.layer_link(repository, digest), digest.encode())
        value = {"config": self._entry(config), "layers": [self._entry(layer)]}
        return self.manifest(repository, value, *tags)

    def index(self, repository: str, children: list[str], *tags: str) -> str:
        return self.manifest(repository, {"manifests": [self._entry(child) for child in children]}, *tags)

    def _entry(self, digest: str) -> dict[str, Any]:
        return {"digest": digest, "size": self.data(digest).stat().st_size}

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_storage_has_tags_manifests_and_children(writer: Writer, storage: Storage) -> None:
    child = writer.image("team/app", "layer")
    index = writer.index("team/app", [child], "1.0", "latest")

    (stored,) = storage.repositories().values()

    assert stored.tags == {"1.0": index, "latest": index}
    assert stored.images() == {index: ("1.0", "latest")}


def test_contents_of_complete_images_leave_no_problem(writer: Writer, storage: Storage) -> None:
    index = writer.index("app", [writer.image("app", "one"), writer.image("app", "two")], "1.0")
    outcome = PruneOutcome(0)

    check_contents(outcome, storage, [("app", index)], exact=True)

    assert (outcome.problems, outcome.leaked, outcome.damaged) == ([], 0, 0)
    assert outcome.bytes_after == sum(storage.blobs().values()) > 0


def test_contents_name_leaked_bytes_after_undisturbed_prune_only(writer: Writer, storage: Storage) -> None:
    image = writer.image("app", "one", "1.0")
    garbage = writer.blob(b"garbage")
    exact, disturbed = PruneOutcome(0), PruneOutcome(1)

    check_contents(exact, storage, [("app", image)], exact=True)
    check_contents(disturbed, storage, [("app", image)], exact=False)

    assert exact.leaked == 7
    assert garbage in exact.problems[0]
    assert (disturbed.leaked, disturbed.problems) == (None, [])


@pytest.mark.parametrize("missing", [True, False])
def test_contents_name_damaged_layer_of_kept_image(writer: Writer, storage: Storage, missing: bool) -> None:
    image = writer.image("app", "one", "1.0")
    layer = writer.data(writer.blob(b"one"))
    layer.unlink() if missing else layer.write_bytes(b"two")
    outcome = PruneOutcome(0)

    check_contents(outcome, storage, [("app", image)], exact=False)

    assert outcome.damaged == 1
    assert layer.parent.name in outcome.problems[0]


def test_contents_name_missing_link_of_kept_image(writer: Writer, storage: Storage) -> None:
    image = writer.image("app", "one", "1.0")
    writer.layer_link("app", writer.blob(b"one")).unlink()
    outcome = PruneOutcome(0)

    check_contents(outcome, storage, [("app", image)], exact=True)

    assert (outcome.damaged, outcome.leaked) == (1, 0)
    assert "_layers/sha256/" in outcome.problems[0]


def test_tags_that_no_rule_keeps_must_be_deleted(writer: Writer, storage: Storage) -> None:
    writer.image("app", "one", "1.0")
    before = storage.repositories()
    outcome = PruneOutcome(0)

    check_tags(outcome, before, storage.repositories(), expect(before, Rules((), ())), [])

    assert outcome.problems == ["the tag app:1.0, which no rule keeps, was not deleted"]


def test_kept_tags_must_keep_their_digest(writer: Writer, storage: Storage) -> None:
    writer.image("app", "one", "1.0", "2.0")
    before = storage.repositories()
    other = writer.image("app", "two", "1.0")
    (writer.root / "repositories/app/_manifests/tags/2.0/current/link").unlink()
    outcome = PruneOutcome(0)

    check_tags(outcome, before, storage.repositories(), expect(before, Rules(("app",), (Use("app", tag="1.0"),))), [])

    assert sorted(outcome.problems) == [
        f"the kept tag app:1.0 refers to {other}",
        "the kept tag app:2.0 refers to nothing",
    ]


def test_tags_of_concurrent_pushes_must_have_one_of_their_digests(writer: Writer, storage: Storage) -> None:
    writer.image(CONCURRENT_REPOSITORY, "before", "0", "1")
    before = storage.repositories()
    pushed = writer.image(CONCURRENT_REPOSITORY, "after", "0")
    rules = Rules((CONCURRENT_REPOSITORY,), ())
    outcome, lost = PruneOutcome(0), PruneOutcome(1)

    check_tags(outcome, before, storage.repositories(), expect(before, rules), [PushedTag("0", pushed)])
    check_tags(lost, before, before, expect(before, rules), [PushedTag("0", pushed)])

    assert outcome.problems == []
    assert lost.problems[0].startswith(f"the pushed tag {CONCURRENT_REPOSITORY}:0 refers to sha256:")
