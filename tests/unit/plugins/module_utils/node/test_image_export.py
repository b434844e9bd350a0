# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images in containerd: found and exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.image_export import (
    FoundImage,
    State,
    effective_config,
    export_image,
    find_images,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.runtime_images import Containerd

DIGEST = f"sha256:{'1' * 64}"
TYPE = "application/vnd.oci.image.index.v1+json"
NAME = "example.com/proxy:1"
COMPLETE = FoundImage(NAME, DIGEST, State.COMPLETE)


@dataclass
class Ctr:
    """A containerd with the output of ctr.

    Attributes:
        statuses: The status of each image in the output of ``ctr images check``.
        export_error: The error output of an export that fails after it has created the archive.
        has_local: Whether ctr has the option ``--local``.
    """

    statuses: dict[str, str] = field(default_factory=dict)
    export_error: str = ""
    has_local: bool = True
    commands: list[list[str]] = field(default_factory=list)
    tmpdir: str = ""

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        self.commands.append(args)
        _kind, verb, *rest = args[1:]
        if verb == "export":
            if rest[0] == "--local" and not self.has_local:
                return 1, "", "ctr: flag provided but not defined: -local"
            Path(rest[-2]).write_text("archive")
            return (1, "", self.export_error) if self.export_error else (0, "", "")
        named = {name: status for name, status in self.statuses.items() if f'name=="{name}"' in rest}
        if verb == "list":
            lines = [f"{name} {TYPE} {DIGEST} 1.0 MiB linux/amd64 -" for name in named]
            return 0, "\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *lines]), ""
        lines = [f"{name} {TYPE} {DIGEST} {status} false" for name, status in named.items()]
        # The command fails for an image that the default snapshotter does not have.
        return 1, "\n".join(["REF TYPE DIGEST STATUS SIZE UNPACKED", *lines]), "ctr: unable to check unpack"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("complete (2/2) 737.9 KiB/737.9 KiB", State.COMPLETE),
        ("incomplete (1/2) 818.0 B/737.9 KiB", State.INCOMPLETE),
        ("unavailable (0/?) 0.0 B/?", State.INCOMPLETE),
    ],
)
def test_find_images_returns_state_of_existing_image(status: str, state: State) -> None:
    assert find_images(Containerd(Ctr({NAME: status}), ["ctr"]), [NAME]) == [FoundImage(NAME, DIGEST, state)]


def test_find_images_returns_missing_image() -> None:
    other = f"example.com/proxy@{DIGEST}"
    ctr = Ctr({other: "complete (2/2)"})

    found = find_images(Containerd(ctr, ["ctr"]), [NAME, other])

    assert found == [FoundImage(NAME, "", State.MISSING), FoundImage(other, DIGEST, State.COMPLETE)]


def test_find_images_runs_no_command_without_names() -> None:
    ctr = Ctr()
    assert find_images(Containerd(ctr, ["ctr"]), []) == []
    assert ctr.commands == []


def test_export_image_creates_archive(tmp_path: Path) -> None:
    ctr = Ctr()
    export_image(Containerd(ctr, ["ctr"]), COMPLETE, tmp_path / "proxy.tar")
    assert ctr.commands == [["ctr", "images", "export", "--local", str(tmp_path / "proxy.tar"), NAME]]
    assert (tmp_path / "proxy.tar").exists()


def test_export_image_creates_archive_with_client_without_option(tmp_path: Path) -> None:
    ctr = Ctr(has_local=False)
    export_image(Containerd(ctr, ["ctr"]), COMPLETE, tmp_path / "proxy.tar")
    assert ctr.commands[1:] == [["ctr", "images", "export", str(tmp_path / "proxy.tar"), NAME]]


def test_export_image_deletes_archive_of_failed_export(tmp_path: Path) -> None:
    ctr = Ctr(export_error="write: no space left on device")
    with pytest.raises(ClusterError, match="no space left on device"):
        export_image(Containerd(ctr, ["ctr"]), COMPLETE, tmp_path / "proxy.tar")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (State.INCOMPLETE, f"containerd has discarded layers of {NAME}"),
        (State.MISSING, f"containerd does not have {NAME}"),
    ],
)
def test_export_image_rejects_image_without_content(tmp_path: Path, state: State, message: str) -> None:
    ctr = Ctr()
    with pytest.raises(SourceError, match=message):
        export_image(Containerd(ctr, ["ctr"]), FoundImage(NAME, DIGEST, state), tmp_path / "proxy.tar")
    assert ctr.commands == []


class Dump:
    """A containerd that prints its command line as its configuration, or fails."""

    tmpdir = ""

    def __init__(self, error: str = "") -> None:
        self._error = error

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        return (1, "", self._error) if self._error else (0, " ".join(args), "")


def test_effective_config_includes_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch()
    assert effective_config(Dump(), "containerd", config) == f"containerd --config {config} config dump"


def test_effective_config_is_default_without_configuration_file(tmp_path: Path) -> None:
    assert effective_config(Dump(), "containerd", tmp_path / "config.toml") == "containerd config default"


def test_effective_config_names_unreadable_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch()
    with pytest.raises(SourceError, match=f"containerd cannot read its configuration {config}: toml: line 1"):
        effective_config(Dump("toml: line 1"), "containerd", config)
