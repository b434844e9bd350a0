# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of Debian packages, and their installation and removal."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from cluster import packages
from cluster.errors import ClusterError

CHECKOUT = Path(__file__).resolve().parents[3]
PACKAGE_MANAGER = re.compile(
    r"(?<![\w./-])(apt|apt-get|apt-cache|aptitude|dpkg(-deb)?|dnf|yum|zypper|pip3?)(?![\w-])"
    r"|ansible\.builtin\.(apt|deb822|dnf|dpkg|package|pip|yum)"
)
EXEMPT = {
    "tests/cluster/packages.py",
    "tests/cluster/newer_debian.py",  # unpacks programs of packages.NEWER in the cache
    "tests/dev/venv.py",  # fills a virtual environment
    "tests/dev/ansible_test.py",
    "tests/images/recipes/debian.py",  # runs inside the image's root file system
    "tests/unit/cluster/test_packages.py",
    # pip of the module k8scr_bundle, with a folder in place of a package index.
    "tests/unit/plugins/module_utils/support/wheels.py",
    "tests/unit/plugins/module_utils/commands/test_wheels.py",
}
TOOLS_OF_THE_MACHINE = {"python3", "git", "make", "golang-go", "gcc", "openssl", "openssh-client", "iproute2"}

APT_GET = """#!/bin/sh
echo "$*" >> {folder}/calls
case "$*" in
  *"remove --simulate"*)
    for package; do
      case $package in -*|DPkg*|remove) continue ;; esac
      echo "Remv $package [1.0]"
      cat {folder}/removed-with-$package 2>/dev/null
    done
    exit 0 ;;
  *install*)
    [ -e {folder}/installable ] || {{ echo "E: no such package" >&2; exit 100; }}
    for command in $(cat {folder}/installable); do ln -s /bin/true {folder}/system/$command; done ;;
  *update*) echo runc > {folder}/installable ;;
esac
"""
DPKG_QUERY = """#!/bin/sh
case "$1" in
  --show) for package in {installed}; do echo "installed $package"; done; echo "config-files umoci" ;;
  --listfiles) cat {folder}/files-of-$2 2>/dev/null || echo {folder}/system/$2 ;;
esac
"""


class Machine:
    """A machine with a recorded apt-get, and a dpkg-query that lists everything but umoci as installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "system").mkdir()
        self._write("bin/apt-get", APT_GET.format(folder=folder))
        installed = {*packages.ALL.values(), *TOOLS_OF_THE_MACHINE} - {"umoci"}
        self._write("bin/dpkg-query", DPKG_QUERY.format(folder=folder, installed=" ".join(sorted(installed))))

    @property
    def calls(self) -> list[str]:
        """The arguments of each call of apt-get."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def removed(self) -> set[str]:
        """The packages that were removed."""
        (call,) = (call for call in self.calls if "remove -y" in call)
        return set(call.partition("-y -q ")[2].split())

    def write(self, name: str, text: str) -> None:
        """Write one of the files that the commands read."""
        (self.folder / name).write_text(text + "\n")

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which root runs the tests in CI."""
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "_PATH", str(tmp_path / "system"))
    return machine


def test_package_managers_are_called_only_in_packages_module() -> None:
    files = [path for folder in ("tests", ".ci", "playbooks") for path in (CHECKOUT / folder).rglob("*")]
    programs = [
        path
        for path in (*files, CHECKOUT / "Makefile")
        if path.is_file() and "output" not in path.parts and path.suffix in (".py", ".yml", ".sh", ".j2", "")
    ]

    callers = {
        str(path.relative_to(CHECKOUT)) for path in programs if PACKAGE_MANAGER.search(path.read_text(errors="replace"))
    }

    assert "tests/cluster/packages.py" in callers
    assert callers - EXEMPT == set()


def test_ensure_calls_no_package_manager_if_packages_are_installed(machine: Machine) -> None:
    (machine.folder / "system/runc").symlink_to("/bin/true")

    packages.ensure({"runc": "runc"})

    assert machine.calls == []


def test_ensure_updates_package_lists_after_failed_installation(machine: Machine) -> None:
    packages.ensure({"runc": "runc"})

    assert [call.split()[2] for call in machine.calls] == ["install", "update", "install"]


def test_ensure_names_packages_still_missing_after_installation(machine: Machine) -> None:
    with pytest.raises(ClusterError, match=r"missing on this machine, install: umoci$"):
        packages.ensure({"runc": "runc", "umoci": "umoci"})

    assert machine.calls


@pytest.mark.parametrize(("ci", "user"), [("", 0), ("true", 1000)])
def test_remove_keeps_all_packages_without_root_or_ci(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ci: str, user: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: user)

    packages.remove()

    assert machine.calls == []


def test_remove_removes_installed_packages_needed_only_by_tests(machine: Machine) -> None:
    packages.remove()

    assert machine.removed == set(packages.ALL.values()) - TOOLS_OF_THE_MACHINE - {"umoci", "util-linux"}


def test_remove_keeps_package_required_by_another_package(machine: Machine) -> None:
    machine.write("removed-with-runc", "Remv containerd [1.6]\nRemv somebodys-tool [2.0]")
    machine.write("removed-with-containerd", "Remv docker.io [20.10]")

    packages.remove()

    assert "runc" not in machine.removed
    assert {"containerd", "docker.io"} <= machine.removed


def test_remove_keeps_package_replaced_by_apt(machine: Machine) -> None:
    machine.write("removed-with-podman", "Inst podman-replacement (1.0)")

    packages.remove()

    assert "podman" not in machine.removed


def test_remove_keeps_package_with_running_program(machine: Machine) -> None:
    machine.write("files-of-openssh-server", os.path.realpath(sys.executable))

    packages.remove()

    assert "openssh-server" not in machine.removed
