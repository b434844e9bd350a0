# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.files import Change, carry_out
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.plan import plan_mirror

URL = "http://10.0.0.1:5001"


class Keeper:
    """What AnsibleModule does with files."""

    def backup_local(self, fn: str) -> str:
        return shutil.copy2(fn, f"{fn}.backup")

    def atomic_move(self, src: str, dest: str) -> None:
        Path(src).replace(dest)


def _plan(path: Path, runtime: str = "containerd", **more: Any) -> tuple[list[Change], list[str]]:
    options = {
        "runtime": runtime,
        "path": str(path),
        "endpoint": URL,
        "ca_cert": None,
        "upstreams": ["docker.io"],
        "qualify": False,
        "fallback": True,
        "state": "present",
        **more,
    }
    return plan_mirror(options)


def _do(path: Path, runtime: str = "containerd", **more: Any) -> list[Change]:
    changes, _warnings = _plan(path, runtime, **more)
    carry_out(changes, Keeper(), backup=True)
    return changes


def _actions(changes: list[Change]) -> list[str]:
    return [change.result["action"] for change in changes]


@pytest.mark.parametrize(
    ("runtime", "place"), [("containerd", "certs.d"), ("containers", "conf.d"), ("k3s", "k3s/registries.yaml")]
)
def test_files_are_made_once_and_leave_nothing_when_taken_back(tmp_path: Path, runtime: str, place: str) -> None:
    path = tmp_path / place
    assert _actions(_do(path, runtime)) == ["created"]
    assert _actions(_do(path, runtime)) == ["unchanged"]
    assert _actions(_do(path, runtime, state="absent")) == ["deleted"]
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert "deleted" not in _actions(_do(path, runtime, state="absent"))


def test_registries_that_are_no_longer_named_are_as_they_were(tmp_path: Path) -> None:
    mine = tmp_path / "quay.io/hosts.toml"
    mine.parent.mkdir()
    mine.write_text('server = "https://quay.io"\n')
    _do(tmp_path, upstreams=["docker.io", "quay.io", "ghcr.io"])
    assert URL in mine.read_text()
    assert _actions(_do(tmp_path)) == ["unchanged", "deleted", "updated"]
    assert mine.read_text() == 'server = "https://quay.io"\n'
    assert not (tmp_path / "ghcr.io").exists()


def test_only_changed_files_in_which_others_wrote_are_backed_up(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    file.write_text("# mine\n")
    changes, _warnings = _plan(tmp_path, upstreams=["docker.io", "quay.io"])
    assert carry_out(changes, Keeper(), backup=True) == [f"{file}.backup"]
    assert Path(f"{file}.backup").read_text() == "# mine\n"
    changes, _warnings = _plan(tmp_path, upstreams=["docker.io", "quay.io"])
    assert carry_out(changes, Keeper(), backup=True) == []


def test_plan_mirror_names_file_with_block_without_end_in_either_state(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    file.write_text("# BEGIN k8scr.core\n[host]\n")
    for state in ("present", "absent"):
        with pytest.raises(InputError, match=r"docker\.io/hosts\.toml is damaged: line 1"):
            _plan(tmp_path, state=state)


def test_plan_mirror_changes_nothing_where_result_would_not_be_valid(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    file.write_text('host = {"https://a" = {}}\n')
    with pytest.raises(InputError, match=r"hosts\.toml is not changed: it would no longer be valid"):
        _plan(tmp_path)


@pytest.mark.parametrize(
    ("runtime", "file", "text"),
    [
        ("containerd", "certs.d/docker.io/hosts.toml", 'server = "https://registry-1.docker.io"\n'),
        ("k3s", "registries.yaml", "mirrors: {}\n"),
        ("containers", "conf.d/zz-k8scr-core.conf", "# Written by k8scr.core\n"),
    ],
)
def test_plan_mirror_follows_link_in_place_of_file(tmp_path: Path, runtime: str, file: str, text: str) -> None:
    real, link = tmp_path / "real", tmp_path / file
    real.write_text(text)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(real)
    path = {"containerd": tmp_path / "certs.d", "k3s": link, "containers": link.parent}[runtime]

    _do(path, runtime)
    assert URL.partition("//")[2] in real.read_text()
    _do(path, runtime, state="absent")
    assert real.read_text() == ("" if runtime == "containers" else text)
    assert link.is_symlink()


def test_plan_mirror_makes_registries_yaml_private(tmp_path: Path) -> None:
    (change,) = _do(tmp_path / "registries.yaml", "k3s")
    assert change.mode == 0o600


def test_plan_mirror_warns_of_entries_that_take_precedence(tmp_path: Path) -> None:
    (tmp_path / "registries.conf").write_text('[[registry]]\nprefix = "docker.io/library"\n')
    _changes, warnings = _plan(tmp_path / "registries.conf.d", "containers")
    assert len(warnings) == 1
    assert "docker.io/library, which takes precedence over the one for docker.io" in warnings[0]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "quay.io/hosts.toml"
    file.parent.mkdir()
    file.write_bytes(b"# mine\r\n")
    _do(tmp_path)
    _do(tmp_path, state="absent")
    assert file.read_bytes() == b"# mine\r\n"


def test_folders_that_the_default_does_not_reach_are_named(tmp_path: Path) -> None:
    (tmp_path / "quay.io").mkdir()
    _changes, warnings = _plan(tmp_path, upstreams=["*"])
    assert warnings == [
        f"{tmp_path} has folders for quay.io, for which '*' does not count; name them among the upstreams too"
    ]
    assert _plan(tmp_path, upstreams=["*", "quay.io"])[1] == []


def test_plan_mirror_warns_where_hosts_for_all_registries_apply_no_longer(tmp_path: Path) -> None:
    default = tmp_path / "_default/hosts.toml"
    default.parent.mkdir()
    default.write_text('[host."https://cache.example.com"]\n')
    _changes, warnings = _plan(tmp_path)
    assert warnings == [f"{default} does not apply to docker.io any more; write its hosts into their hosts.toml too"]
    _do(tmp_path)
    assert _plan(tmp_path)[1] == []


def test_certificates_that_would_no_longer_be_found_are_told(tmp_path: Path) -> None:
    (tmp_path / "docker.io").mkdir()
    (tmp_path / "docker.io/ca.crt").touch()
    _changes, (warning,) = _plan(tmp_path)
    assert "docker.io has certificates" in warning


@pytest.mark.parametrize(
    "endpoint", ["", "10.0.0.1:5001", "http://", "http://:5001", "http://a b", 'http://a"b', "http://a/path"]
)
def test_an_endpoint_that_is_no_url_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(InputError, match="not the URL of a registry"):
        _plan(tmp_path, endpoint=endpoint)


@pytest.mark.parametrize("upstream", ["", "..", "../docker.io", "docker.io/library", "_default", "a:b", "-"])
def test_an_upstream_that_is_no_host_is_refused(tmp_path: Path, upstream: str) -> None:
    with pytest.raises(InputError, match="not the name of a registry"):
        _plan(tmp_path, upstreams=[upstream])


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "docker.io").touch()
    with pytest.raises(DestinationError, match=r"hosts\.toml cannot be written"):
        carry_out([Change(tmp_path / "docker.io/hosts.toml", None, "text")], Keeper(), backup=True)


def test_podman_gets_a_copy_of_a_private_authority_and_loses_it_again(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate\n")
    copy = tmp_path / "containers/certs.d/mirror.example.com:5000/k8scr-core.crt"
    private = {"endpoint": "https://mirror.example.com:5000", "ca_cert": str(tmp_path / "ca.pem")}
    folder = tmp_path / "containers/registries.conf.d"

    assert _actions(_do(folder, "containers", **private)) == ["created", "created"]
    assert copy.read_text() == "certificate\n"
    assert _actions(_do(folder, "containers", **private)) == ["unchanged", "unchanged"]
    assert _actions(_do(folder, "containers")) == ["updated", "deleted"]
    assert not copy.parent.exists()


def test_an_authority_that_is_not_there_is_told(tmp_path: Path) -> None:
    private = {"endpoint": "https://mirror.example.com", "ca_cert": str(tmp_path / "ca.pem")}
    with pytest.raises(SourceError, match="is not there"):
        _plan(tmp_path / "registries.conf.d", "containers", **private)


def test_an_authority_without_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without TLS"):
        _plan(tmp_path, ca_cert="/etc/ssl/ca.pem")
