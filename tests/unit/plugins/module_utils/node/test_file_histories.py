# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node's files while tasks add, change and remove mirrors, administrators edit the files, and writes fail.

Each run tries the same few histories; ``K8SCR_FUZZ_EXAMPLES`` sets the number of random ones.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import FileChange, apply_changes
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror_plan import plan_mirror
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed
from unit.plugins.module_utils.support.host import FakeFiles
from unit.plugins.module_utils.support.toml_files import TomlWriter, hosts_table, registries_table
from unit.plugins.module_utils.support.yaml_files import YamlWriter, registries

RANDOM = st.randoms(use_true_random=True)
UPSTREAMS = ["docker.io", "quay.io", "registry.example.com:5000", "[fd00::1]:5000"]
PATHS = {"containerd": "certs.d", "containers": "registries.conf.d", "k3s": "registries.yaml"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BrokenFiles(FakeFiles):
    """A host that cannot replace files."""

    def atomic_move(self, src: str, dest: str) -> None:
        raise PermissionError(1, "Operation not permitted")


class Node(RuleBasedStateMachine):
    """The files of a node, and their contents without the entries of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.original: dict[Path, bytes] = {}
        self.modes: dict[Path, int] = {}

    @initialize(random=RANDOM, runtime=st.sampled_from(list(PATHS)))
    def write_files(self, random: Random, runtime: str) -> None:
        self.runtime, self.path = runtime, self.folder / PATHS[runtime]
        if runtime == "containerd":
            for upstream in random.sample(UPSTREAMS, 2):
                table = hosts_table(random)
                self._write(
                    random, f"certs.d/{upstream}/hosts.toml", TomlWriter(random, "host" not in table).text(table)
                )
        elif runtime == "containers":
            for name in ("registries.conf", "registries.conf.d/10.conf"):
                self._write(random, name, TomlWriter(random, inline=True).text(registries_table(random)))
        elif random.random() < 0.8:
            self._write(random, "registries.yaml", YamlWriter(random).text(registries(random)))

    def _write(self, random: Random, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if random.random() < 0.2:
            (file.parent / "target").touch()
            file.symlink_to("target")
        file.write_bytes(random.choice([b"", b"", b"", BYTE_ORDER_MARK]) + text.encode())
        self.modes[file] = random.choice([0o600, 0o640, 0o644])
        file.chmod(self.modes[file])
        self.original[file] = file.read_bytes()

    def _plan(self, random: Random) -> list[FileChange]:
        address = random.choice(["10.0.0.1:5001", "[fd00:10:96::abcd]:5001", "mirror.example.com"])
        qualify = self.runtime != "k3s" and random.random() < 0.3
        mirror = Mirror("http", address, qualify, fallback=random.random() < 0.7)
        upstreams = random.sample(UPSTREAMS, random.randrange(1, 4))
        if self.runtime == "containers" or qualify or random.random() < 0.5:
            return self._plan_for(upstreams, mirror)
        return self._plan_for(["*"], mirror, exclude=upstreams)

    def _plan_for(self, upstreams: list[str], mirror: Mirror | None, exclude: Sequence[str] = ()) -> list[FileChange]:
        changes, _warnings = plan_mirror(self.runtime, self.path, upstreams, mirror, exclude)
        again, _warnings = plan_mirror(self.runtime, self.path, upstreams, mirror, exclude)
        assert changes == again
        apply_changes(changes, FakeFiles(), backup=False)
        unchanged, _warnings = plan_mirror(self.runtime, self.path, upstreams, mirror, exclude)
        assert [change.path for change in unchanged if change.changed] == []
        return changes

    @rule(random=RANDOM)
    def add_mirror(self, random: Random) -> None:
        for change in self._plan(random):
            after = change.path.read_bytes().decode("utf-8-sig") if change.path.exists() else ""
            assert after == (change.after or "")

    @rule()
    def remove_mirror(self) -> None:
        self._plan_for([], None)
        assert self._contents() == self.original

    @rule(random=RANDOM)
    def fail_to_write(self, random: Random) -> None:
        before = self._contents()
        mirror = Mirror("http", f"10.0.0.{random.randrange(9)}:5001", qualify=False, fallback=True)
        changes, _warnings = plan_mirror(self.runtime, self.path, UPSTREAMS[:1], mirror)
        if any(change.changed and change.after is not None for change in changes[:1]):
            with pytest.raises(DestinationError, match="Operation not permitted"):
                apply_changes(changes, BrokenFiles(), backup=True)
            assert self._contents() == before

    @rule(random=RANDOM)
    def edit_as_administrator(self, random: Random) -> None:
        for file in [each for each in self.original if random.random() < 0.5]:
            self._add_comment(file, f"# {random.randrange(1000)}\n".encode(), at_end=random.random() < 0.5)

    @rule(random=RANDOM)
    def edit_during_task(self, random: Random) -> None:
        changes, _warnings = plan_mirror(self.runtime, self.path, UPSTREAMS, None)
        changed = [change for change in changes if change.changed and change.path in self.original]
        if changed:
            self._add_comment(changed[0].path, b"# meanwhile\n", at_end=False)
            with pytest.raises(DestinationError, match="another process has just changed it"):
                apply_changes(changed[:1], FakeFiles(), backup=False)

    def _add_comment(self, file: Path, line: bytes, at_end: bool) -> None:
        """Add a line to a file and to its content without the module's entries."""
        if at_end and not self.original[file].endswith(b"\n"):
            return
        file.write_bytes(_with_line(file.read_bytes(), line, at_end))
        self.original[file] = _with_line(self.original[file], line, at_end)

    def _contents(self) -> dict[Path, bytes]:
        files = [file for file in self.folder.rglob("*") if file.is_file() and file.name != "target"]
        return {file: file.read_bytes() for file in files}

    @invariant()
    def keep_modes_and_links(self) -> None:
        assert {file: file.stat().st_mode & 0o777 for file in self.original} == self.modes
        assert not list(self.folder.rglob(".k8scr-*"))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


def _with_line(content: bytes, line: bytes, at_end: bool) -> bytes:
    mark = BYTE_ORDER_MARK if content.startswith(BYTE_ORDER_MARK) else b""
    return content + line if at_end else mark + line + content[len(mark) :]


TestNode = Node.TestCase
TestNode.settings = settings(fuzzed, max_examples=EXAMPLES or 60, stateful_step_count=8)
