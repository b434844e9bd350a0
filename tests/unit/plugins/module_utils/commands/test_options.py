# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All options of all modules at their edges: each ends in a message that names the option, or in a result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.documented_results import differences
from unit.plugins.module_utils.support.images import Image, write_oci_archive
from unit.plugins.module_utils.support.module_runs import MODULES, run_module, spec_of

Capture = pytest.CaptureFixture[str]
OPTIONS = [(module, name, option) for module in MODULES for name, option in spec_of(module).items()]
LONG = "x" * 5000
WRONG: dict[str, tuple[Any, ...]] = {
    "bool": ("maybe", "", 2, []),
    "bytes": ("", "-1", "1X", "1e999", "many", []),
    "int": ("", "x", "1.5", [], "1" * 5000, 10**400),
    "list": ({"a": "b"},),
    "dict": ([], "x"),
}
"""Values of a wrong type."""


def containing(option: dict[str, Any], text: str) -> Any:
    """Return a value of an option's type that contains a text."""
    kind = option.get("elements") if option["type"] == "list" else option["type"]
    value: Any = {"key": text} if kind == "dict" else text
    return [value] if option["type"] == "list" else value


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without a cluster. Relative paths are below a folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def texts() -> Iterator[Any]:
    """Yield the options that contain texts."""
    for module, name, option in OPTIONS:
        if option["type"] in ("str", "path", "raw", "list") and not option.get("choices") and not option.get("options"):
            yield pytest.param(module, name, option, id=f"{module}-{name}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [("x\0y", "contains a NUL character"), ("caf\udce9", "contains bytes that are not UTF-8")],
    ids=["NUL", "not UTF-8"],
)
@pytest.mark.parametrize(("module", "name", "option"), list(texts()))
def test_error_names_option_with_unusable_text(
    capsys: Capture, module: str, name: str, option: dict[str, Any], text: str, fault: str
) -> None:
    # These two options exclude each other.
    others = {"definition": None} if name == "src" else {}

    result = run_module(module, capsys, **others, **{name: containing(option, text)})

    # Ansible masks a secret in the message; it may have its name in common with the option.
    assert result["msg"] == f"{name} {fault}"


def wrong_values() -> Iterator[Any]:
    """Yield options with values that Ansible or the collection must reject."""
    for module, name, option in OPTIONS:
        values = WRONG.get(option["type"], ())
        if option.get("choices"):
            values = ("other", "")
        for value in values:
            yield pytest.param(module, name, value, id=f"{module}-{name}-{value!r:.12}")


@pytest.mark.parametrize(("module", "name", "value"), list(wrong_values()))
def test_error_names_option_with_value_of_wrong_type(capsys: Capture, module: str, name: str, value: Any) -> None:
    result = run_module(module, capsys, **{name: value})

    assert result["failed"]
    # Ansible's own message about a text that is no dictionary names no option.
    assert name in result["msg"] or "dictionary requested" in result["msg"]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (module, name)
        for module, name, option in OPTIONS
        if option.get("required") and option["type"] in ("str", "path")
    ],
)
def test_error_names_required_option_that_is_empty(capsys: Capture, module: str, name: str) -> None:
    result = run_module(module, capsys, **{name: ""})

    assert name in result["msg"]


@pytest.mark.parametrize("value", ["", " ", "a b", "ü", LONG, "..", "../x", "a/b", "-a", "A", "a\nb", "%2e"])
@pytest.mark.parametrize(
    "module", ["k8scr_carry", "k8scr_image", "k8scr_info", "k8scr_prune", "k8scr_pull", "k8scr_push", "k8scr_wait"]
)
@pytest.mark.parametrize("name", ["namespace", "registry"])
def test_error_names_option_that_is_no_name_of_an_object(capsys: Capture, module: str, name: str, value: str) -> None:
    result = run_module(module, capsys, **{name: value})

    assert result["msg"].startswith(f"{name} is ")
    assert len(result["msg"]) < 300


@pytest.mark.parametrize("value", ["", " ", "Team/api", "team/api:1", "../x", "team//api", LONG])
def test_error_names_mount_from_with_entry_that_is_no_repository(capsys: Capture, value: str) -> None:
    result = run_module("k8scr_push", capsys, mount_from=["team/app", value])

    assert result["msg"].startswith("mount_from has ")
    assert len(result["msg"]) < 300


@pytest.mark.parametrize(
    ("module", "name"), [("k8scr_push", "images"), ("k8scr_pull", "images"), ("k8scr_archive_info", "archives")]
)
@pytest.mark.parametrize("value", [[None], [""], ["ok:1", ""], [[]], [{}], [7], [" "]])
def test_error_names_list_with_unusable_entry(capsys: Capture, module: str, name: str, value: list[Any]) -> None:
    result = run_module(module, capsys, **{name: value})

    assert result["failed"]
    assert "Traceback" not in result["msg"]


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("k8scr_archive_info", {"archives": ["/a.tar", ""]}, "archives has an empty entry"),
        ("k8scr_apply", {"definition": {"spec": [1 << 70]}}, "definition has a number of more than 64 bits"),
    ],
)
def test_error_names_unusable_part_of_option(
    capsys: Capture, module: str, options: dict[str, Any], message: str
) -> None:
    assert run_module(module, capsys, **options)["msg"] == message


def test_list_of_many_equal_entries_has_one_result(capsys: Capture, tmp_path: Path, image: Image) -> None:
    archive = write_oci_archive(tmp_path / "app.tar", {"docker.io/team/app:1": image})

    result = run_module("k8scr_archive_info", capsys, archives=[str(archive)] * 2)

    assert len(result["archives"]) == 1


PATHS = {
    "a folder": "{folder}",
    "below a file": "{file}/x",
    "a long name": f"/missing/{LONG}",
    "a long path": "/d" * 3000,
    "a name at the limit": f"{{folder}}/{'x' * 255}",
    "a link to itself": "{folder}/loop",
    "a file that is no text": "{file}",
    "relative": "no/such/file",
}
"""Paths that options may have, by what they are."""
CLUSTER = {"host": "https://127.0.0.1:1", "username": "me", "password": "mine"}
USES: dict[tuple[str, str], dict[str, Any]] = {
    ("k8scr_apply", "src"): {"definition": None},
    ("k8scr_archive_info", "archives"): {},
    ("k8scr_containerd", "config"): {"program": "/bin/false"},
    ("k8scr_containerd", "certs_d"): {"program": "/bin/false", "config": "/missing/config.toml"},
    ("k8scr_mirror", "path"): {},
    ("k8scr_mirror", "ca_cert"): {"endpoint": "https://10.0.0.1", "runtime": "containers"},
    ("k8scr_node_export", "config"): {"program": "/bin/false", "containerd": "/bin/false"},
    ("k8scr_node_images", "folder"): {"program": "/bin/false"},
    ("k8scr_node_images", "config"): {"program": "/bin/false", "containerd": "/bin/false"},
    ("k8scr_push", "lock"): {**CLUSTER, "locked": True},
    ("k8scr_push", "docker_cert_path"): {**CLUSTER, "images": ["app:1"], "docker_host": "tcp://127.0.0.1:1"},
    ("k8scr_push", "tmp_dest"): {**CLUSTER, "docker_host": "unix:///missing", "images": ["app:1"]},
    ("k8scr_send_part", "dest"): {"digest": f"sha256:{'0' * 64}"},
    ("k8scr_send_part", "piece"): {"digest": f"sha256:{'0' * 64}"},
    ("k8scr_send_part", "piece_dir"): {"digest": f"sha256:{'0' * 64}"},
    ("k8scr_wait", "ca_cert"): {**CLUSTER, "wait_timeout": 0},
    ("k8scr_wait", "client_cert"): {**CLUSTER, "wait_timeout": 0},
    ("k8scr_wait", "client_key"): {**CLUSTER, "wait_timeout": 0, "client_cert": "/missing/client.crt"},
    ("k8scr_wait", "kubeconfig"): {},
}
"""The options that are paths, with other options of a task that uses them."""


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(("module", "name"), USES)
def test_path_at_edge_ends_in_result(capsys: Capture, tmp_path: Path, module: str, name: str, path: str) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    (tmp_path / "loop").symlink_to("loop")
    value = path.format(folder=tmp_path, file=tmp_path / "file")

    options = {**USES[module, name], name: [value] if name == "archives" else value}
    result = run_module(module, capsys, **options)

    # A traceback would be another exception than SystemExit.
    assert result.get("msg") or not result.get("failed")


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("module", ["k8scr_push", "k8scr_pull"])
@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_location_at_edge_ends_in_result(
    capsys: Capture, tmp_path: Path, module: str, transport: str, path: str
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    (tmp_path / "loop").symlink_to("loop")
    location = f"{transport}:{path.format(folder=tmp_path, file=tmp_path / 'file')}"
    image = location if module == "k8scr_push" else {"name": "app:1", "dest": location}

    result = run_module(module, capsys, images=[image], retry_timeout=0, **CLUSTER)

    assert result["msg"]


@pytest.mark.parametrize("module", MODULES)
def test_module_with_invalid_options_returns_documented_values(capsys: Capture, module: str) -> None:
    result = run_module(module, capsys, no_such_option="x")

    assert result["failed"]
    assert differences(module, result) == []


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("k8scr_apply", CLUSTER),
        ("k8scr_archive_info", {}),
        ("k8scr_bundle", {"since": "/missing/list"}),
        ("k8scr_carry", CLUSTER),
        ("k8scr_critical_images", CLUSTER),
        ("k8scr_find_images", {"src": None}),
        ("k8scr_image", CLUSTER),
        ("k8scr_info", CLUSTER),
        ("k8scr_prune", {**CLUSTER, "retry_timeout": 0}),
        ("k8scr_pull", CLUSTER),
        ("k8scr_push", CLUSTER),
        ("k8scr_wait", {**CLUSTER, "wait_timeout": 0}),
    ],
)
def test_module_that_fails_early_returns_documented_values(
    capsys: Capture, module: str, options: dict[str, Any]
) -> None:
    result = run_module(module, capsys, **options)

    assert result["failed"]
    assert differences(module, result) == []
