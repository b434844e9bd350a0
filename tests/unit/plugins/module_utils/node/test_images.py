# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.images import OURS, PINNED, Containerd, Wanted

ONE, TWO, CONFIG = (f"sha256:{digit * 64}" for digit in "123")
A = Wanted("example.com/a:1", ONE, frozenset(), "/archives/one.tar")
B = Wanted("example.com/b:1", TWO, frozenset(), "/archives/one.tar")
NO_MANIFEST = Wanted("example.com/a:1", "", frozenset([CONFIG]), "/archives/docker.tar")


@dataclass
class Ctr:
    """A containerd with a client that prints as ctr does, which an archive gives the images A and B."""

    images: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    content: dict[str, object] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        kind, verb, *rest = command[1:]
        if (kind, verb) == ("content", "get"):
            return (0, json.dumps(self.content[rest[0]]), "") if rest[0] in self.content else (1, "", "not found")
        answer = {"list": self._list, "import": self._import, "label": self._label, "remove": self._remove}[verb](rest)
        return 0, answer, ""

    def put(self, name: str, digest: str, labels: Mapping[str, str] | None = None) -> None:
        self.images[name] = digest
        self.labels[name] = dict(labels or {})

    def _list(self, filters: list[str]) -> str:
        lines = ["REF TYPE DIGEST SIZE PLATFORMS LABELS"]
        for name, digest in self.images.items():
            if not filters or f'name=="{name}"' in filters:
                labels = ",".join(f"{key}={text}" for key, text in self.labels[name].items()) or "-"
                lines.append(f"{name} application/vnd.oci.image.manifest.v1+json {digest} 1.0 MiB linux/amd64 {labels}")
        return "\n".join(lines)

    def _import(self, rest: list[str]) -> str:
        self.imports.append(rest[-1])
        for image in (A, B):
            self.put(image.name, image.digest, dict([rest[1].split("=")]) if rest[0] == "--label" else {})
        return ""

    def _label(self, rest: list[str]) -> str:
        name, *pairs = rest
        for pair in pairs:
            key, _equals, text = pair.partition("=")
            self.labels[name].pop(key, None)
            if text:
                self.labels[name][key] = text
        return ""

    def _remove(self, rest: list[str]) -> str:
        for name in rest:
            del self.images[name]
        return ""


def test_an_archive_is_imported_once_for_all_that_is_missing() -> None:
    ctr = Ctr()
    assert Containerd(ctr, ["ctr"]).present([A, B], check_mode=False) == {A.name: "imported", B.name: "imported"}
    assert ctr.imports == ["/archives/one.tar"]
    assert Containerd(ctr, ["ctr"]).present([A, B], check_mode=False) == {A.name: "unchanged", B.name: "unchanged"}


def test_check_mode_says_the_same_and_does_nothing() -> None:
    ctr = Ctr()
    assert Containerd(ctr, ["ctr"]).present([A], check_mode=True) == {A.name: "imported"}
    assert ctr == Ctr()


def test_an_image_that_was_there_is_pinned_and_keeps_its_labels_when_its_archive_is_imported() -> None:
    ctr = Ctr()
    ctr.put(A.name, ONE, {"mine": "1"})
    assert Containerd(ctr, ["ctr"]).present([A, B], check_mode=False) == {A.name: "pinned", B.name: "imported"}
    assert ctr.labels[A.name] == {"mine": "1", PINNED: "pinned", OURS: "pinned"}
    assert ctr.labels[B.name] == {PINNED: "pinned", OURS: "imported"}


def test_an_image_with_the_same_name_and_another_digest_is_replaced() -> None:
    ctr = Ctr()
    ctr.put(A.name, TWO)
    assert Containerd(ctr, ["ctr"]).present([A], check_mode=False) == {A.name: "imported"}
    assert ctr.images[A.name] == ONE


def test_an_archive_without_manifests_is_compared_by_its_config_also_below_an_index() -> None:
    ctr = Ctr(content={ONE: {"manifests": [{"digest": TWO}]}, TWO: {"config": {"digest": CONFIG}}})
    ctr.put(A.name, ONE)
    assert Containerd(ctr, ["ctr"], pin=False).present([NO_MANIFEST], check_mode=False) == {A.name: "unchanged"}
    ctr.content[TWO] = {"config": {"digest": TWO}}
    assert Containerd(ctr, ["ctr"], pin=False).present([NO_MANIFEST], check_mode=True) == {A.name: "imported"}


def test_what_was_imported_is_removed_and_what_was_pinned_is_as_before() -> None:
    ctr = Ctr()
    ctr.put(A.name, ONE, {"mine": "1"})
    containerd = Containerd(ctr, ["ctr"])
    containerd.present([A, B], check_mode=False)
    ctr.put(f"sha256:{'4' * 64}", TWO, {"io.cri-containerd.image": "managed"})
    ctr.put("example.com/others:1", ONE)
    assert containerd.absent([], check_mode=False) == {A.name: "unpinned", B.name: "removed"}
    assert ctr.images == {A.name: ONE, "example.com/others:1": ONE}
    assert ctr.labels[A.name] == {"mine": "1"}
    assert containerd.absent([A, B], check_mode=False) == {A.name: "unchanged", B.name: "unchanged"}


def test_content_that_another_name_uses_stays() -> None:
    ctr = Ctr()
    containerd = Containerd(ctr, ["ctr"])
    containerd.present([A], check_mode=False)
    bare = f"sha256:{'4' * 64}"
    ctr.put(bare, ONE)
    ctr.put("example.com/others:1", ONE)
    containerd.absent([A], check_mode=False)
    assert set(ctr.images) == {"example.com/others:1", bare, B.name}


def test_what_the_runtime_says_is_told() -> None:
    containerd = Containerd(lambda _command: (1, "", "permission denied\n"), ["ctr"])
    with pytest.raises(ClusterError, match="refused to images list: permission denied"):
        containerd.present([A], check_mode=False)
