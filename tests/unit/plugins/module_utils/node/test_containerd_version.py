# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings that a version of containerd supports."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.containerd_version import (
    print_version,
    supported_mirror,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror

MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True, dial_timeout="2s")


class FakeCommands:
    """The part of AnsibleModule that runs commands, with a program that has a status, or is missing (None)."""

    tmpdir = ""

    def __init__(self, status: int | None) -> None:
        self._status = status

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        if self._status is None:
            raise FileNotFoundError(2, "No such file or directory")
        return self._status, " ".join(args), ""


@pytest.mark.parametrize(
    "version",
    [
        "containerd github.com/containerd/containerd/v2 v2.0.7 4ac6c20c7bbf8177f29e46bbdc658fec02ffb8ad\n",
        "containerd github.com/containerd/containerd/v2 v2.4.2 \n",
        "containerd containerd.io v2.1.5 fcd43222d6b07379a4be9786bda52438f0dd16a1",
        "containerd github.com/containerd/containerd/v2 2.2.0+unknown ",
        "containerd github.com/containerd/containerd/v3 v10.0.0-rc.1 abc",
    ],
)
def test_supported_mirror_keeps_dial_timeout_for_new_containerd(version: str) -> None:
    assert supported_mirror(MIRROR, version) == (MIRROR, [])


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n", "1.6.20~ds1"),
        (
            "containerd github.com/k3s-io/containerd v1.7.23-k3s2 57f17b0a6295a39009d861b89e3b3b87b005ca27",
            "1.7.23-k3s2",
        ),
        ("containerd github.com/containerd/containerd/v2 v2.0.6 abc", "2.0.6"),
    ],
)
def test_supported_mirror_omits_dial_timeout_with_warning_for_old_containerd(version: str, number: str) -> None:
    mirror, (warning,) = supported_mirror(MIRROR, version)

    assert mirror == replace(MIRROR, dial_timeout="")
    assert f"because containerd {number} does not support it" in warning
    assert "Upgrade containerd to 2.0.7" in warning


@pytest.mark.parametrize(
    "version", ["", "containerd", "containerd github.com/containerd/containerd devel", "nerdctl 2"]
)
def test_supported_mirror_omits_dial_timeout_with_warning_for_unknown_version(version: str) -> None:
    mirror, (warning,) = supported_mirror(MIRROR, version)

    assert mirror.dial_timeout == ""
    assert "the version of containerd is unknown" in warning


def test_supported_mirror_has_no_warning_without_dial_timeout() -> None:
    mirror = replace(MIRROR, dial_timeout="")

    assert supported_mirror(mirror, "containerd github.com/containerd/containerd 1.6.20") == (mirror, [])


@pytest.mark.parametrize(("status", "output"), [(0, "ctd --version"), (1, ""), (None, "")])
def test_print_version_returns_output_or_nothing(status: int | None, output: str) -> None:
    assert print_version(FakeCommands(status), "ctd") == output
