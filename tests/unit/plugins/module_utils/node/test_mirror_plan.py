# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Planned changes of the files of each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import FileChange, apply_changes
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror_plan import plan_mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.toml_parser import TOML
from unit.plugins.module_utils.support.host import FakeFiles

URL = "http://10.0.0.1:5001"
MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True)
UPSTREAMS = ("docker.io",)


def _apply(
    runtime: str,
    path: Path,
    upstreams: Sequence[str] = UPSTREAMS,
    mirror: Mirror | None = MIRROR,
    exclude: Sequence[str] = (),
) -> list[FileChange]:
    changes, _warnings = plan_mirror(runtime, path, upstreams, mirror, exclude)
    apply_changes(changes, FakeFiles(), backup=True)
    return changes


def _actions(changes: list[FileChange]) -> list[str]:
    return [change.result["action"] for change in changes]


@pytest.mark.parametrize(
    ("runtime", "name"), [("containerd", "certs.d"), ("containers", "conf.d"), ("k3s", "k3s/registries.yaml")]
)
def test_plan_mirror_creates_files_once_and_deletes_them(tmp_path: Path, runtime: str, name: str) -> None:
    path = tmp_path / name
    assert _actions(_apply(runtime, path)) == ["created"]
    assert _actions(_apply(runtime, path)) == ["unchanged"]
    assert _actions(_apply(runtime, path, mirror=None)) == ["deleted"]
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert "deleted" not in _actions(_apply(runtime, path, mirror=None))


def test_plan_mirror_restores_registries_missing_from_upstreams(tmp_path: Path) -> None:
    mine = tmp_path / "quay.io/hosts.toml"
    mine.parent.mkdir()
    mine.write_text('server = "https://quay.io"\n')
    _apply("containerd", tmp_path, ["docker.io", "quay.io", "ghcr.io"])
    assert URL in mine.read_text()
    assert _actions(_apply("containerd", tmp_path)) == ["unchanged", "deleted", "updated"]
    assert mine.read_text() == 'server = "https://quay.io"\n'
    assert not (tmp_path / "ghcr.io").exists()


def test_apply_changes_backs_up_only_changed_files_with_lines_of_administrators(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    file.write_text("# mine\n")
    changes, _warnings = plan_mirror("containerd", tmp_path, ["docker.io", "quay.io"], MIRROR)
    assert apply_changes(changes, FakeFiles(), backup=True) == [f"{file}.backup"]
    assert Path(f"{file}.backup").read_text() == "# mine\n"
    changes, _warnings = plan_mirror("containerd", tmp_path, ["docker.io", "quay.io"], MIRROR)
    assert apply_changes(changes, FakeFiles(), backup=True) == []


def test_plan_mirror_names_file_with_damaged_block_in_either_state(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    file.write_text("# BEGIN k8scr.core\n[host]\n")
    for mirror in (MIRROR, None):
        with pytest.raises(InputError, match=r"docker\.io/hosts\.toml is damaged: line 1"):
            plan_mirror("containerd", tmp_path, UPSTREAMS, mirror)


def test_plan_mirror_rejects_invalid_result(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    # A parser reads this quoted key with an escape as the table of hosts.
    file.write_text('"ho\\u0073t" = {}\n')
    with pytest.raises(InputError, match=r"hosts\.toml is not changed: it would no longer be valid"):
        plan_mirror("containerd", tmp_path, UPSTREAMS, MIRROR)


def test_plan_mirror_names_file_and_line_of_inline_table(tmp_path: Path) -> None:
    file = tmp_path / "docker.io/hosts.toml"
    file.parent.mkdir()
    file.write_text('# mine\nhost = {"https://a" = {}}\n')
    with pytest.raises(InputError, match=f"^{file} is not changed: it has host as an inline table, in line 2"):
        plan_mirror("containerd", tmp_path, UPSTREAMS, MIRROR)


@pytest.mark.parametrize(
    ("runtime", "name", "damage", "reason"),
    [
        ("containerd", "docker.io/hosts.toml", "[", "it is not valid without the managed block: not valid TOML"),
        ("k3s", "registries.yaml", "- a\n", "it is without the managed block not valid YAML in line 2"),
    ],
)
def test_plan_mirror_names_lines_without_block_if_file_was_damaged_after_it(
    tmp_path: Path, runtime: str, name: str, damage: str, reason: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("server = 'https://a'\n" if runtime == "containerd" else "a: 1\n")
    path = tmp_path if runtime == "containerd" else file
    _apply(runtime, path)
    damaged = file.read_text() + damage
    file.write_text(damaged)
    other = Mirror("http", "10.0.0.2:5001", qualify=False, fallback=True)
    with pytest.raises(InputError, match=f"^{file} is not changed: {reason}"):
        plan_mirror(runtime, path, UPSTREAMS, other)
    assert file.read_text() == damaged


@pytest.mark.parametrize("reason", ["its entry for docker.io", "it has a rewrite"])
def test_plan_mirror_names_file_with_conflicting_entry(tmp_path: Path, reason: str) -> None:
    entry = "[https://a]" if reason.startswith("its") else "{rewrite: {a: b}}"
    file = tmp_path / "registries.yaml"
    file.write_text(f"mirrors: {{docker.io: {entry}}}\n")
    with pytest.raises(InputError, match=f"^{file} is not changed: {reason}"):
        plan_mirror("k3s", file, UPSTREAMS, MIRROR)


@pytest.mark.parametrize(
    ("runtime", "file", "text"),
    [
        ("containerd", "certs.d/docker.io/hosts.toml", 'server = "https://registry-1.docker.io"\n'),
        ("k3s", "registries.yaml", "mirrors: {}\n"),
        ("containers", "conf.d/zz-k8scr-core.conf", "# Written by k8scr.core\n"),
    ],
)
def test_plan_mirror_follows_symbolic_link(tmp_path: Path, runtime: str, file: str, text: str) -> None:
    real, link = tmp_path / "real", tmp_path / file
    real.write_text(text)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(real)
    path = {"containerd": tmp_path / "certs.d", "k3s": link, "containers": link.parent}[runtime]

    _apply(runtime, path)
    assert URL.partition("//")[2] in real.read_text()
    _apply(runtime, path, mirror=None)
    assert real.read_text() == ("" if runtime == "containers" else text)
    assert link.is_symlink()


def test_plan_mirror_makes_registries_yaml_private(tmp_path: Path) -> None:
    (change,) = _apply("k3s", tmp_path / "registries.yaml")
    assert change.mode == 0o600


def test_plan_mirror_warns_of_entries_with_precedence(tmp_path: Path) -> None:
    (tmp_path / "registries.conf").write_text('[[registry]]\nprefix = "docker.io/library"\n')
    _changes, warnings = plan_mirror("containers", tmp_path / "registries.conf.d", UPSTREAMS, MIRROR)
    assert len(warnings) == 1
    assert "docker.io/library, which takes precedence over the one for docker.io" in warnings[0]


def test_plan_mirror_changes_no_files_of_other_registries(tmp_path: Path) -> None:
    file = tmp_path / "quay.io/hosts.toml"
    file.parent.mkdir()
    file.write_bytes(b"# mine\r\n")
    _apply("containerd", tmp_path)
    _apply("containerd", tmp_path, mirror=None)
    assert file.read_bytes() == b"# mine\r\n"


def test_plan_mirror_warns_of_folders_to_which_default_does_not_apply(tmp_path: Path) -> None:
    (tmp_path / "quay.io").mkdir()
    _changes, warnings = plan_mirror("containerd", tmp_path, ["*"], MIRROR)
    assert warnings == [f"{tmp_path} has folders for quay.io, to which '*' does not apply; add them to upstreams"]
    assert plan_mirror("containerd", tmp_path, ["*", "quay.io"], MIRROR)[1] == []


def test_plan_mirror_warns_of_default_that_no_longer_applies(tmp_path: Path) -> None:
    default = tmp_path / "_default/hosts.toml"
    default.parent.mkdir()
    default.write_text('[host."https://cache.example.com"]\n')
    _changes, warnings = plan_mirror("containerd", tmp_path, UPSTREAMS, MIRROR)
    assert warnings == [f"{default} no longer applies to docker.io; copy its hosts to their hosts.toml"]
    _apply("containerd", tmp_path)
    assert plan_mirror("containerd", tmp_path, UPSTREAMS, MIRROR)[1] == []


def test_plan_mirror_warns_of_certificates_that_containerd_ignores(tmp_path: Path) -> None:
    (tmp_path / "docker.io").mkdir()
    (tmp_path / "docker.io/ca.crt").touch()
    _changes, (warning,) = plan_mirror("containerd", tmp_path, UPSTREAMS, MIRROR)
    assert "docker.io has certificates" in warning


def test_apply_changes_names_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "docker.io").touch()
    with pytest.raises(DestinationError, match=r"hosts\.toml cannot be written"):
        apply_changes([FileChange(tmp_path / "docker.io/hosts.toml", None, "text")], FakeFiles(), backup=True)


def test_plan_mirror_copies_private_certificate_authority_for_podman(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate\n")
    copy = tmp_path / "containers/certs.d/mirror.example.com:5000/k8scr-core.crt"
    private = Mirror("https", "mirror.example.com:5000", False, True, str(tmp_path / "ca.pem"))
    folder = tmp_path / "containers/registries.conf.d"

    assert _actions(_apply("containers", folder, mirror=private)) == ["created", "created"]
    assert copy.read_text() == "certificate\n"
    assert _actions(_apply("containers", folder, mirror=private)) == ["unchanged", "unchanged"]
    assert _actions(_apply("containers", folder)) == ["updated", "deleted"]
    assert not copy.parent.exists()


def test_plan_mirror_names_missing_certificate_authority(tmp_path: Path) -> None:
    private = Mirror("https", "mirror.example.com", False, True, str(tmp_path / "ca.pem"))
    with pytest.raises(SourceError, match="does not exist on the node"):
        plan_mirror("containers", tmp_path / "registries.conf.d", UPSTREAMS, private)


@pytest.mark.parametrize(
    ("runtime", "name", "keys"),
    [
        ("containerd", "certs.d", ("host", "https://[fd00:10:96::abcd]:5001", "ca")),
        ("containers", "conf.d", ("registry", 0, "mirror", 0, "location")),
        ("k3s", "k3s/registries.yaml", ("configs", "[fd00:10:96::abcd]:5001", "tls", "ca_file")),
    ],
)
def test_plan_mirror_writes_ipv6_address_once_in_brackets(
    tmp_path: Path, runtime: str, name: str, keys: tuple[str | int, ...]
) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    address = "[fd00:10:96::abcd]:5001"
    mirror = Mirror("https", address, qualify=False, fallback=True, ca_cert=str(tmp_path / "ca.pem"))

    changes = _apply(runtime, tmp_path / name, mirror=mirror)

    text = changes[0].path.read_text()
    value = yaml.safe_load(text) if runtime == "k3s" else TOML.parse(text)
    for key in keys:
        value = value[key]
    assert value in (address, mirror.ca_cert)
    assert address in text
    assert set(_actions(_apply(runtime, tmp_path / name, mirror=mirror))) == {"unchanged"}
    assert set(_actions(_apply(runtime, tmp_path / name, mirror=None))) == {"deleted"}


def test_plan_mirror_writes_hosts_without_mirror_for_excluded_registry(tmp_path: Path) -> None:
    excluded = tmp_path / "registry.k8s.io/hosts.toml"

    assert _actions(_apply("containerd", tmp_path, ["*"], exclude=["registry.k8s.io"])) == ["created", "created"]
    assert TOML.parse(excluded.read_text()) == {"host": {}}
    assert _actions(_apply("containerd", tmp_path, ["*"], exclude=["registry.k8s.io"])) == ["unchanged", "unchanged"]
    assert plan_mirror("containerd", tmp_path, ["*"], MIRROR, ["registry.k8s.io"])[1] == []
    assert _actions(_apply("containerd", tmp_path, ["*"])) == ["unchanged", "deleted"]
    assert not excluded.parent.exists()


def test_plan_mirror_removes_mirror_of_registry_that_is_excluded_later(tmp_path: Path) -> None:
    _apply("containerd", tmp_path, ["*", "quay.io"])
    assert _actions(_apply("containerd", tmp_path, ["*"], exclude=["quay.io"])) == ["unchanged", "updated"]
    assert URL not in (tmp_path / "quay.io/hosts.toml").read_text()
    assert _actions(_apply("containerd", tmp_path, ["*", "quay.io"])) == ["unchanged", "updated"]
    assert URL in (tmp_path / "quay.io/hosts.toml").read_text()


@pytest.mark.parametrize("text", ['[host."https://cache.example.com"]\n', "# mine\n"])
def test_plan_mirror_keeps_administrators_file_of_excluded_registry(tmp_path: Path, text: str) -> None:
    file = tmp_path / "quay.io/hosts.toml"
    file.parent.mkdir()
    file.write_text(text)

    assert _actions(_apply("containerd", tmp_path, ["*"], exclude=["quay.io"])) == ["created", "unchanged"]
    assert file.read_text() == text
    _apply("containerd", tmp_path, ["*", "quay.io"])
    _apply("containerd", tmp_path, ["*"], exclude=["quay.io"])
    assert file.read_text() == text


def test_plan_mirror_writes_no_hosts_for_excluded_registry_with_certificates(tmp_path: Path) -> None:
    certificate = tmp_path / "quay.io/ca.crt"
    certificate.parent.mkdir()
    certificate.touch()
    _apply("containerd", tmp_path, ["*", "quay.io"])

    assert _actions(_apply("containerd", tmp_path, ["*"], exclude=["quay.io"])) == ["unchanged", "deleted"]
    assert [file.name for file in certificate.parent.iterdir()] == ["ca.crt"]
    assert _actions(_apply("containerd", tmp_path, ["*"], exclude=["quay.io"])) == ["unchanged"]


def test_plan_mirror_warns_of_default_that_does_not_apply_to_excluded_registry(tmp_path: Path) -> None:
    default = tmp_path / "_default/hosts.toml"
    default.parent.mkdir()
    default.write_text('[host."https://cache.example.com"]\n')

    _changes, warnings = plan_mirror("containerd", tmp_path, ["*"], MIRROR, ["quay.io"])

    assert warnings == [f"{default} no longer applies to quay.io; copy its hosts to their hosts.toml"]


@pytest.mark.parametrize(("runtime", "name"), [("containerd", "certs.d"), ("k3s", "registries.yaml")])
def test_plan_mirror_ignores_excluded_registries_without_default(tmp_path: Path, runtime: str, name: str) -> None:
    changes, warnings = plan_mirror(runtime, tmp_path / name, UPSTREAMS, MIRROR, ["quay.io"])

    assert (changes, warnings) == plan_mirror(runtime, tmp_path / name, UPSTREAMS, MIRROR)
