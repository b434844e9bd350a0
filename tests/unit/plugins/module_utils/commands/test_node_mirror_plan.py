# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes that are configured through Pods: their shell script runs here, on files in the folder of a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_mirror_plan import observe
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import apply_changes
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror_plan import plan_mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.pod_copy import records_key
from unit.plugins.module_utils.support.host import FakeFiles
from unit.plugins.module_utils.support.node_scripts import ENDPOINT, ScriptedNode

SHELLS = [shell for shell in (("sh",), ("bash",), ("busybox", "sh")) if shutil.which(shell[0])]
ADMINISTRATORS = 'server = "https://admin.example.com"\n[host."https://other.example.com"]\n  capabilities = ["pull"]\n'
UPSTREAMS = ["docker.io", "registry.example.com:5000", "[fd00::1]:5000"]
FILES: dict[str, dict[str, str | bytes]] = {
    "no files": {},
    "administrator's file": {"certs.d/docker.io/hosts.toml": ADMINISTRATORS},
    "line breaks of Windows": {"certs.d/docker.io/hosts.toml": ADMINISTRATORS.replace("\n", "\r\n").encode()},
    "byte order mark": {"certs.d/docker.io/hosts.toml": b"\xef\xbb\xbf" + ADMINISTRATORS.encode()},
    "no last line break": {"certs.d/docker.io/hosts.toml": ADMINISTRATORS.rstrip()},
    "empty file": {"certs.d/docker.io/hosts.toml": ""},
    "commands in names": {"certs.d/$(touch bad) `touch bad` 'x' \"y\"/hosts.toml": ADMINISTRATORS},
}


@pytest.fixture(params=SHELLS, ids=" ".join)
def node(tmp_path: Path, request: pytest.FixtureRequest) -> ScriptedNode:
    """A node, for each shell of this host."""
    return ScriptedNode(tmp_path / "node", request.param)


@pytest.mark.parametrize("files", FILES.values(), ids=list(FILES))
def test_node_gets_same_files_as_with_module_on_node(
    node: ScriptedNode, tmp_path: Path, files: dict[str, str | bytes]
) -> None:
    for path, content in files.items():
        node.write(path, content)
    shutil.copytree(node.folder, tmp_path / "other")
    mirror = Mirror.from_endpoint(ENDPOINT, qualify=False, fallback=False)
    changes, _warnings = plan_mirror("containerd", tmp_path / "other/certs.d", UPSTREAMS, mirror)
    apply_changes(changes, FakeFiles(), backup=False)

    plan = node.plan(tmp_path / "copies", upstreams=UPSTREAMS, fallback=False)
    node.apply(plan.answer)

    assert node.files() == ScriptedFiles(tmp_path / "other").files()
    assert [file["action"] for file in plan.files] == [change.result["action"] for change in changes]
    assert records_key(observe(node.script, plan.observations)) == plan.key


class ScriptedFiles(ScriptedNode):
    """The files of another node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


@pytest.mark.parametrize("files", FILES.values(), ids=list(FILES))
def test_node_has_its_files_again_after_removal(
    node: ScriptedNode, tmp_path: Path, files: dict[str, str | bytes]
) -> None:
    for path, content in files.items():
        node.write(path, content)
    before = node.files()
    node.apply(node.plan(tmp_path / "copies", fallback=False).answer)

    node.apply(node.plan(tmp_path / "others", state="absent").answer)

    # An empty file is like a missing one.
    assert node.files() == {path: content for path, content in before.items() if content}


def test_second_plan_has_no_changes_and_same_answers(node: ScriptedNode, tmp_path: Path) -> None:
    node.write("certs.d/docker.io/hosts.toml", ADMINISTRATORS)
    first = node.plan(tmp_path / "copies", dial_timeout="2s")
    node.apply(first.answer)

    second = node.plan(tmp_path / "others", dial_timeout="2s")

    assert (second.answer, second.diff) == ("", [])
    assert second.answers == first.answers


@pytest.mark.parametrize("reads_config", [False, True])
def test_new_node_with_known_files_configures_itself(node: ScriptedNode, tmp_path: Path, reads_config: bool) -> None:
    options: dict[str, Any] = {"dial_timeout": "2s", "upstreams": UPSTREAMS}
    if reads_config:
        options["path"] = ""
    certs_d = node.folder / "hosts"
    node.write("config.toml", f'[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "{certs_d}"\n')
    node.write("hosts/docker.io/hosts.toml", ADMINISTRATORS)
    before = node.files()
    plan = node.plan(tmp_path / "copies", **options)
    node.apply(plan.answer)
    configured = node.files()
    for path, content in before.items():
        node.write(path, content)
    for path in configured.keys() - before.keys():
        (node.folder / path).unlink()
        (node.folder / path).parent.rmdir()

    done = node.start_new_node_pod(plan.answers, **options)

    assert done.returncode == 0, done.stdout + done.stderr
    assert node.files() == configured


@pytest.mark.parametrize("runtime", ["k3s", "containers"])
def test_new_node_without_files_configures_itself(node: ScriptedNode, tmp_path: Path, runtime: str) -> None:
    path = {"k3s": "k3s/registries.yaml", "containers": "containers/registries.conf.d"}[runtime]
    options = {"runtime": runtime, "path": str(node.folder / path)}
    plan = node.plan(tmp_path / "copies", **options)

    done = node.start_new_node_pod(plan.answers, **options)

    assert done.returncode == 0, done.stdout + done.stderr
    assert ENDPOINT.partition("//")[2] in "".join(content.decode() for content in node.files().values())


def test_key_is_independent_of_order_of_imports(node: ScriptedNode, tmp_path: Path) -> None:
    certs_d = node.folder / "hosts"
    node.write("config.toml", f'[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "{certs_d}"\n')
    # Prints another line each time, as containerd 1 does.
    count = 'echo >>"$0.count"\nprintf \'imports = ["%s"]\\n\' "$(wc -l <"$0.count")"'
    text = node.containerd.read_text().replace('printf \'imports = ["%s"]\\n\' "$2"', count)
    node.containerd.write_text(text)

    plan = node.plan(tmp_path / "copies", path="")
    node.apply(plan.answer)

    assert count in text
    assert records_key(observe(node.script, plan.observations)) == plan.key


def test_configured_node_stays_unchanged_in_pod_of_daemon_set(node: ScriptedNode, tmp_path: Path) -> None:
    plan = node.plan(tmp_path / "copies")
    node.apply(plan.answer)
    configured = node.files()

    done = node.start_new_node_pod(plan.answers)

    assert (done.returncode, node.files()) == (0, configured)


def test_new_node_with_unknown_files_stays_unchanged_and_says_so(node: ScriptedNode, tmp_path: Path) -> None:
    plan = node.plan(tmp_path / "copies")
    node.write("certs.d/docker.io/hosts.toml", ADMINISTRATORS)

    done = node.start_new_node_pod(plan.answers)

    assert done.returncode == 1
    assert "Run the role node_mirror again" in done.stdout
    assert node.files() == {"certs.d/docker.io/hosts.toml": ADMINISTRATORS.encode()}


def test_plan_sets_config_path_and_reports_restart(node: ScriptedNode, tmp_path: Path) -> None:
    node.write("config.toml", "version = 3\n", 0o600)

    plan = node.plan(tmp_path / "copies", path="")

    assert [Path(file["path"]).name for file in plan.files] == ["config.toml", "hosts.toml"]
    assert plan.files[1]["path"] == "/etc/containerd/certs.d/docker.io/hosts.toml"
    assert plan.needs_restart
    assert list(node.files()) == ["config.toml"]


def test_plan_names_file_of_node_if_containerd_rejects_it(node: ScriptedNode, tmp_path: Path) -> None:
    node.write("config.toml", "invalid\n")

    with pytest.raises(SourceError) as error:
        node.plan(tmp_path / "copies", path="")

    expected = f"{node.folder}/config.toml is not changed: containerd cannot read it: failed to load TOML"
    assert error.value.message == expected


def test_plan_names_missing_containerd(node: ScriptedNode, tmp_path: Path) -> None:
    node.write("config.toml", "version = 3\n")

    with pytest.raises(SourceError, match="missing-program cannot be run"):
        node.plan(tmp_path / "copies", path="", program="missing-program")


def test_plan_warns_of_unsupported_dial_timeout_with_unknown_version(node: ScriptedNode, tmp_path: Path) -> None:
    plan = node.plan(tmp_path / "copies", dial_timeout="2s", program="missing-program")

    assert [warning.partition(",")[0] for warning in plan.warnings] == ["dial_timeout is not set"]


def test_apply_keeps_mode_and_backs_up_file_of_administrator(node: ScriptedNode, tmp_path: Path) -> None:
    file = node.write("certs.d/docker.io/hosts.toml", ADMINISTRATORS, 0o640)

    node.apply(node.plan(tmp_path / "copies").answer)

    (backup,) = file.parent.glob("hosts.toml.*~")
    assert backup.read_text() == ADMINISTRATORS
    assert {each.stat().st_mode & 0o777 for each in (file, backup)} == {0o640}
    assert sorted(each.name for each in file.parent.iterdir()) == ["hosts.toml", backup.name]


def test_apply_rejects_file_that_changed_after_plan(node: ScriptedNode, tmp_path: Path) -> None:
    file = node.write("certs.d/docker.io/hosts.toml", ADMINISTRATORS)
    plan = node.plan(tmp_path / "copies")
    file.write_text("# Another one.\n")

    with pytest.raises(DestinationError, match="another process has just changed it"):
        node.apply(plan.answer)

    assert file.read_text() == "# Another one.\n"


def test_link_to_file_is_kept(node: ScriptedNode, tmp_path: Path) -> None:
    target = node.write("etc/hosts.toml", ADMINISTRATORS)
    link = node.folder / "certs.d/docker.io/hosts.toml"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../etc/hosts.toml")

    plan = node.plan(tmp_path / "copies")
    node.apply(plan.answer)

    assert link.is_symlink()
    assert ENDPOINT in target.read_text()
    assert records_key(observe(node.script, plan.observations)) == plan.key


def test_link_in_folder_of_all_users_is_not_followed(node: ScriptedNode, tmp_path: Path) -> None:
    target = node.write("etc/hosts.toml", ADMINISTRATORS)
    link = node.folder / "certs.d/docker.io/hosts.toml"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    link.parent.chmod(0o777)

    with pytest.raises(SourceError, match="is not followed"):
        node.plan(tmp_path / "copies")


def _large(file: Path) -> None:
    file.write_bytes(bytes((4 << 20) + 1))


def _dangling(file: Path) -> None:
    file.symlink_to("missing")


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        (_large, "has more than 4 MiB"),
        (_dangling, "which is not a file"),
        (Path.mkdir, "is not a regular file"),
        (lambda file: file.write_bytes(b"\xff"), "is not UTF-8"),
    ],
)
def test_plan_rejects_unusual_file_with_its_path(
    node: ScriptedNode, tmp_path: Path, create: Callable[[Path], object], reason: str
) -> None:
    file = node.folder / "certs.d/docker.io/hosts.toml"
    file.parent.mkdir(parents=True)
    create(file)

    with pytest.raises(SourceError) as error:
        node.plan(tmp_path / "copies")

    assert error.value.message.startswith(f"{file} ")
    assert reason in error.value.message


def test_plan_of_k3s_disables_fallback_in_file_of_its_own(node: ScriptedNode, tmp_path: Path) -> None:
    options = {"runtime": "k3s", "path": str(node.folder / "k3s/registries.yaml"), "fallback": False}

    plan = node.plan(tmp_path / "copies", **options)
    node.apply(plan.answer)

    assert list(node.files()) == ["k3s/registries.yaml", "k3s/config.yaml.d/k8scr-core.yaml"]
    assert (node.folder / "k3s/registries.yaml").stat().st_mode & 0o777 == 0o600
    assert plan.needs_restart


def test_plan_of_containers_copies_certificates(node: ScriptedNode, tmp_path: Path) -> None:
    certificate = node.write("ca.pem", "certificates\n")
    folder = node.folder / "containers/registries.conf.d"
    options = {"runtime": "containers", "path": str(folder), "endpoint": "https://r.example.com"}

    plan = node.plan(tmp_path / "copies", mirror_ca_cert=str(certificate), **options)
    node.apply(plan.answer)

    assert (folder.parent / "certs.d/r.example.com/k8scr-core.crt").read_text() == "certificates\n"
    assert records_key(observe(node.script, plan.observations)) == plan.key


@pytest.mark.parametrize(
    "options",
    [{"path": "certs.d"}, {"path": "/etc/*"}, {"path": "/etc/../x"}, {"config": "/etc/$(id)"}, {"program": "-x"}],
)
def test_settings_reject_paths_with_special_characters(node: ScriptedNode, options: dict[str, str]) -> None:
    with pytest.raises(InputError):
        node.settings(**options)
