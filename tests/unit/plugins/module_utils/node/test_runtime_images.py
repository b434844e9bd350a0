# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images in containerd and Podman: imported, pinned and removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.runtime_images import (
    PINNED,
    RECORD,
    Containerd,
    NodeImage,
    Podman,
)

ONE, TWO, CONFIG = (f"sha256:{digit * 64}" for digit in "123")
A = NodeImage("example.com/a:1", ONE, frozenset(), "/archives/one.tar")
B = NodeImage("example.com/b:1", TWO, frozenset(), "/archives/one.tar")
NO_MANIFEST = NodeImage("example.com/a:1", "", frozenset([CONFIG]), "/archives/docker.tar")


@dataclass
class Ctr:
    """A containerd with the output of ctr. An import adds the images A and B.

    Attributes:
        has_label: Whether the import has the option ``--label``, which ctr 1 does not have.
    """

    images: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    content: dict[str, object] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)
    has_label: bool = True
    tmpdir: str = ""

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        kind, verb, *rest = args[1:]
        if (kind, verb) == ("content", "get"):
            return (0, json.dumps(self.content[rest[0]]), "") if rest[0] in self.content else (1, "", "not found")
        if verb == "import" and "--label" in rest and not self.has_label:
            return 1, "", "ctr: flag provided but not defined: -label"
        output = {"list": self._list, "import": self._import, "label": self._label, "remove": self._remove}[verb](rest)
        return 0, output, ""

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


def test_import_images_imports_archive_once_for_all_missing_images() -> None:
    ctr = Ctr()
    assert Containerd(ctr, ["ctr"]).import_images([A, B], check_mode=False) == {A.name: "imported", B.name: "imported"}
    assert ctr.imports == ["/archives/one.tar"]
    assert Containerd(ctr, ["ctr"]).import_images([A, B], check_mode=False) == {
        A.name: "unchanged",
        B.name: "unchanged",
    }


def test_import_images_changes_nothing_in_check_mode() -> None:
    ctr = Ctr()
    assert Containerd(ctr, ["ctr"]).import_images([A], check_mode=True) == {A.name: "imported"}
    assert ctr == Ctr()


def test_import_images_pins_existing_image_and_keeps_its_labels() -> None:
    ctr = Ctr()
    ctr.put(A.name, ONE, {"mine": "1"})
    assert Containerd(ctr, ["ctr"]).import_images([A, B], check_mode=False) == {A.name: "pinned", B.name: "imported"}
    assert ctr.labels[A.name] == {"mine": "1", PINNED: "pinned", RECORD: "pinned"}
    assert ctr.labels[B.name] == {PINNED: "pinned", RECORD: "imported"}


def test_import_images_pins_image_with_client_of_containerd_1() -> None:
    ctr = Ctr(has_label=False)
    assert Containerd(ctr, ["ctr"]).import_images([A], check_mode=False) == {A.name: "imported"}
    assert ctr.labels[A.name] == {PINNED: "pinned", RECORD: "imported"}


def test_import_images_replaces_image_with_same_name_and_different_digest() -> None:
    ctr = Ctr()
    ctr.put(A.name, TWO)
    assert Containerd(ctr, ["ctr"]).import_images([A], check_mode=False) == {A.name: "imported"}
    assert ctr.images[A.name] == ONE


def test_import_images_compares_config_of_archive_without_manifests() -> None:
    ctr = Ctr(content={ONE: {"manifests": [{"digest": TWO}]}, TWO: {"config": {"digest": CONFIG}}})
    ctr.put(A.name, ONE)
    assert Containerd(ctr, ["ctr"], pin=False).import_images([NO_MANIFEST], check_mode=False) == {A.name: "unchanged"}
    ctr.content[TWO] = {"config": {"digest": TWO}}
    assert Containerd(ctr, ["ctr"], pin=False).import_images([NO_MANIFEST], check_mode=True) == {A.name: "imported"}


def test_remove_images_removes_imported_and_unpins_pinned_images() -> None:
    ctr = Ctr()
    ctr.put(A.name, ONE, {"mine": "1"})
    containerd = Containerd(ctr, ["ctr"])
    containerd.import_images([A, B], check_mode=False)
    ctr.put(f"sha256:{'4' * 64}", TWO, {"io.cri-containerd.image": "managed"})
    ctr.put("example.com/others:1", ONE)
    assert containerd.remove_images([], check_mode=False) == {A.name: "unpinned", B.name: "removed"}
    assert ctr.images == {A.name: ONE, "example.com/others:1": ONE}
    assert ctr.labels[A.name] == {"mine": "1"}
    assert containerd.remove_images([A, B], check_mode=False) == {A.name: "unchanged", B.name: "unchanged"}


def test_remove_images_keeps_content_with_another_name() -> None:
    ctr = Ctr()
    containerd = Containerd(ctr, ["ctr"])
    containerd.import_images([A], check_mode=False)
    bare = f"sha256:{'4' * 64}"
    ctr.put(bare, ONE)
    ctr.put("example.com/others:1", ONE)
    containerd.remove_images([A], check_mode=False)
    assert set(ctr.images) == {"example.com/others:1", bare, B.name}


def test_import_images_quotes_error_of_runtime() -> None:
    containerd = Containerd(Mock(**{"run_command.return_value": (1, "", "permission denied\n")}), ["ctr"])
    with pytest.raises(ClusterError, match="ctr images list failed: permission denied"):
        containerd.import_images([A], check_mode=False)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar.zst"])
def test_containerd_that_imports_no_compressed_archive_is_explained(suffix: str) -> None:
    image = NodeImage("example.com/a:1", ONE, frozenset(), f"/archives/one{suffix}")
    commands = Mock(tmpdir="")
    commands.run_command.side_effect = [(0, "REF TYPE DIGEST", ""), (1, "", "ctr: unexpected EOF")]

    with pytest.raises(ClusterError, match=r"unexpected EOF.* decompress the archive"):
        Containerd(commands, ["ctr"]).import_images([image], check_mode=False)


@pytest.mark.parametrize("runtime", [Containerd, Podman])
def test_import_images_names_missing_program(runtime: type[Containerd | Podman]) -> None:
    commands = Mock(**{"run_command.side_effect": FileNotFoundError(2, "No such file or directory")})
    with pytest.raises(SourceError, match=r"client cannot be run: No such file or directory\. Install it"):
        runtime(commands, ["client"]).import_images([A], check_mode=True)
