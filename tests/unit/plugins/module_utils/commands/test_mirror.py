# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_mirror``: settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.mirror import (
    MIRROR_ARGUMENT_SPEC,
    MirrorSettings,
    run_mirror,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from unit.plugins.module_utils.support.host import FakeFiles
from unit.plugins.module_utils.support.settings import module_options


def settings(**options: Any) -> MirrorSettings:
    """Return the settings of a task of k8scr_mirror."""
    return MirrorSettings.from_options(module_options(MIRROR_ARGUMENT_SPEC, **options))


def test_settings_have_mirror_and_default_path_of_runtime() -> None:
    upstreams = ["docker.io", "quay.io", "docker.io"]

    assert settings(runtime="k3s", endpoint="http://10.0.0.1:5001", upstreams=upstreams) == MirrorSettings(
        "k3s",
        Path("/etc/rancher/k3s/registries.yaml"),
        ("docker.io", "quay.io"),
        Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True),
        backup=True,
    )


def test_settings_have_no_mirror_if_absent() -> None:
    found = settings(runtime="containerd", path="/etc/certs.d", endpoint="http://10.0.0.1:5001", state="absent")

    assert (found.mirror, found.path) == (None, Path("/etc/certs.d"))


@pytest.mark.parametrize(
    "options",
    [
        {"upstreams": ["https://docker.io"]},
        {"endpoint": "10.0.0.1:5001"},
        {"exclude": ["registry.k8s.io/pause"]},
        {"dial_timeout": "soon"},
        {"dial_timeout": "2s", "runtime": "k3s"},
    ],
)
def test_settings_reject_invalid_option(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        settings(**{"runtime": "containerd", "endpoint": "http://10.0.0.1:5001", **options})


class FakeModule(FakeFiles):
    """A module with options on a host with a version of containerd."""

    tmpdir = ""
    check_mode = False

    def __init__(self, version: str, **options: Any) -> None:
        self.params = module_options(MIRROR_ARGUMENT_SPEC, **options)
        self.version = version
        self.warnings: list[str] = []

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        return 0, f"containerd github.com/containerd/containerd {self.version}", ""

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)


@pytest.mark.parametrize(("version", "supported"), [("1.7.35", False), ("v2.4.2", True)])
def test_mirror_sets_dial_timeout_that_containerd_supports_or_warns(
    tmp_path: Path, version: str, supported: bool
) -> None:
    options = {"endpoint": "http://10.0.0.1:5001", "upstreams": ["*"], "dial_timeout": "2s"}
    module = FakeModule(version, runtime="containerd", path=str(tmp_path), **options)

    run_mirror(module)

    assert ('dial_timeout = "2s"' in (tmp_path / "_default/hosts.toml").read_text()) is supported
    assert [warning.partition(",")[0] for warning in module.warnings] == ["dial_timeout is not set"] * (not supported)
