# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls of several images to one destination do not damage it, in any order and after any interruption.

Each run tries a few histories; the environment variable ``K8SCR_FUZZ_EXAMPLES`` sets another number.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import Location
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed
from unit.plugins.module_utils.support.images import REFERENCE_NAME, Image, layer, make_image
from unit.plugins.module_utils.support.interruptions import (
    MemorySource,
    files_of,
    full_disk_after,
    pull_image,
    run_killed_after,
)

LAYERS = [layer(f"file-{number}", hashlib.shake_256(b"%d" % number).digest(5 << 18)) for number in range(3)]
IMAGES = [make_image(*(LAYERS[number] for number in numbers)) for numbers in ((0, 1), (1, 2), (2,))]
"""Images with common layers. Each layer is larger than 1 MiB, because smaller partial files are not kept."""


class ImagePull(NamedTuple):
    """A pull of one of the images."""

    number: int
    tag: str

    @property
    def image(self) -> Image:
        return IMAGES[self.number]


PULLS = st.builds(
    ImagePull, st.integers(0, len(IMAGES) - 1), st.sampled_from(["example.com/app:1", "example.com/app:2"])
)
BYTES = st.sampled_from([1000, 5 << 18, 9 << 18])
STEPS = st.integers(0, 35)


class Destination(RuleBasedStateMachine):
    """A layout or an archive as the destination of pulls.

    Attributes:
        images: The pulled images by tag.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._location = Location("oci", Path())
        self.images: dict[str, Image] = {}

    @initialize(kind=st.sampled_from(["docker-archive", "oci-archive", "oci"]))
    def choose_kind(self, kind: str) -> None:
        self._location = Location(kind, Path(self._folder.name) / kind)

    @rule(image_pull=PULLS)
    def pull(self, image_pull: ImagePull) -> None:
        result = self._pull(image_pull)

        assert "failed" not in result, result
        self.images[image_pull.tag] = image_pull.image

    @rule(image_pull=PULLS, cut_after=BYTES)
    def pull_until_connection_is_lost(self, image_pull: ImagePull, cut_after: int) -> None:
        self._record(image_pull, self._pull(image_pull, cut_after))

    @rule(image_pull=PULLS, steps=STEPS)
    def pull_until_disk_is_full(self, image_pull: ImagePull, steps: int) -> None:
        with full_disk_after(steps):
            result = self._pull(image_pull)

        self._record(image_pull, result)

    @rule(image_pull=PULLS, steps=STEPS)
    def pull_until_killed(self, image_pull: ImagePull, steps: int) -> None:
        run_killed_after(steps, lambda: self._pull(image_pull))

        if _tags(_index(self._location)).get(image_pull.tag) == image_pull.image.digest:
            self.images[image_pull.tag] = image_pull.image

    @invariant()
    def destination_has_pulled_images_undamaged(self) -> None:
        index = _index(self._location)
        assert _tags(index) == {tag: image.digest for tag, image in self.images.items()}
        if index:
            files = files_of(self._location)
            expected = {f"blobs/{digest.replace(':', '/')}" for digest in _reachable(index, files)}
            if self._location.transport != "oci":
                assert {name for name in files if name.startswith("blobs/")} == expected
            if self._location.transport == "docker-archive":
                _check_listing(json.loads(files["manifest.json"]), files, set(self.images))

    def teardown(self) -> None:
        self._folder.cleanup()

    def _pull(self, image_pull: ImagePull, cut_after: int | None = None) -> dict[str, Any]:
        return pull_image(MemorySource(image_pull.image, cut_after), self._location, image_pull.tag)

    def _record(self, image_pull: ImagePull, result: dict[str, Any]) -> None:
        if "failed" not in result:
            self.images[image_pull.tag] = image_pull.image


def _index(location: Location) -> list[dict[str, Any]]:
    """Return the entries of a destination's index.json; an empty list before the first image."""
    if not location.path.exists():
        return []
    with suppress(KeyError):
        manifests: list[dict[str, Any]] = json.loads(files_of(location)["index.json"])["manifests"]
        return manifests
    return []


def _tags(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["annotations"][REFERENCE_NAME]: entry["digest"] for entry in entries}


def _reachable(entries: list[dict[str, Any]], files: dict[str, bytes]) -> set[str]:
    """Return the digests of all content below the entries, and check that the files have it undamaged."""
    reachable = set()
    pending = list(entries)
    while pending:
        descriptor = pending.pop()
        content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        assert (digest_of(content), len(content)) == (descriptor["digest"], descriptor["size"])
        reachable.add(descriptor["digest"])
        if descriptor["mediaType"].endswith("manifest.v1+json"):
            manifest = json.loads(content)
            pending += [manifest["config"], *manifest["layers"]]
    return reachable


def _check_listing(listing: list[dict[str, Any]], files: dict[str, bytes], tags: set[str]) -> None:
    assert {tag for image in listing for tag in image["RepoTags"]} == tags
    for image in listing:
        assert {image["Config"], *image["Layers"]} <= set(files)


TestDestination = Destination.TestCase
TestDestination.settings = settings(fuzzed, max_examples=EXAMPLES or 15, stateful_step_count=8)


def test_pull_to_layout_succeeds_after_kill_at_first_write(tmp_path: Path) -> None:
    layout = Location("oci", tmp_path / "layout")
    run_killed_after(0, lambda: pull_image(MemorySource(IMAGES[0]), layout, "app:1"))

    result = pull_image(MemorySource(IMAGES[0]), layout, "app:1")

    assert result["changed"], result
    assert _tags(_index(layout)) == {"app:1": IMAGES[0].digest}
