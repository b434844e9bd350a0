# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of all modules have the documented values, after success, after failures and in check mode.

The integration tests cover k8scr_send, whose action plugin needs a host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import (
    apply,
    carry,
    containerd,
    critical_images,
    info,
    node_export,
    node_images,
    prune,
    pull,
    push,
    registry_transfer,
    wait,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import (
    image as image_command,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import (
    ARCHIVE_INFO_ARGUMENT_SPEC,
    run_archive_info,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import (
    PULL_ARGUMENT_SPEC,
    PUSH_ARGUMENT_SPEC,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.mirror import (
    MIRROR_ARGUMENT_SPEC,
    run_mirror,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.send import (
    SEND_PART_ARGUMENT_SPEC,
    run_send_part,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import FileChange
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.image_export import FoundImage, State
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.node_critical import CriticalImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from unit.plugins.module_utils.support.documented_results import differences
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.host import FakeFiles
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_layout, write_oci_archive
from unit.plugins.module_utils.support.inventories import use
from unit.plugins.module_utils.support.registry_deletion import by_tag
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.settings import module_options

MODES = pytest.mark.parametrize("check_mode", [False, True])
DEFINITION = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}


@pytest.fixture(autouse=True)
def connected(registry: ClusterRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Connect all modules to the registry of the test."""

    @contextmanager
    def connect(
        *_arguments: Any, on_retry: Callable[[str, str], None] | None = None, **_options: Any
    ) -> Iterator[ClusterRegistry]:
        registry.retries.on_retry = on_retry
        yield registry

    registry.api_server = Mock(**{"read_object.return_value": {}})
    for command in (carry, info, prune, registry_transfer):
        monkeypatch.setattr(command, "connect_registry", connect)
    monkeypatch.setattr(carry, "_uid_of_stateful_set", lambda *_arguments: "uid")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class FakeModule(FakeFiles):
    """A module with options."""

    def __init__(self, argument_spec: dict[str, Any], check_mode: bool, **options: Any) -> None:
        self.params = module_options(argument_spec, **options)
        self.check_mode = check_mode

    def warn(self, warning: str) -> None:
        """Ignore a warning."""


@MODES
@pytest.mark.parametrize("images", [[], ["oci:{layout}"], ["oci:{layout}", "oci:/missing", "busybox:1"]])
def test_push_returns_documented_values(tmp_path: Path, image: Image, check_mode: bool, images: list[str]) -> None:
    layout = write_layout(tmp_path / "layout", {"docker.io/team/app:1": image})
    sources = [source.format(layout=layout) for source in images]
    options = module_options(PUSH_ARGUMENT_SPEC, images=sources, docker_host="unix:///missing")

    assert differences("k8scr_push", push.run_push(options, check_mode)) == []


def test_push_returns_documented_values_with_retries_and_referrers(
    server: RegistryServer, tmp_path: Path, image: Image, multi: Image
) -> None:
    layout = write_layout(tmp_path / "layout", {"docker.io/team/app:1": image, "docker.io/team/multi:1": multi})
    server.fail("POST", "uploads", error_response(503, "UNAVAILABLE"), times=2)
    options = module_options(PUSH_ARGUMENT_SPEC, images=[{"source": f"oci:{layout}", "referrers": True}])

    result = push.run_push(options, False)

    assert result["retries"]
    assert differences("k8scr_push", result) == []


@MODES
@pytest.mark.parametrize("names", [[], ["team/app:1"], ["team/app:1", "team/missing:1"]])
def test_pull_returns_documented_values(
    server: RegistryServer, tmp_path: Path, image: Image, check_mode: bool, names: list[str]
) -> None:
    server.fill("team/app", "1", image)
    images = [{"name": f"docker.io/{name}", "dest": f"oci:{tmp_path / 'pulled'}", "referrers": True} for name in names]
    options = module_options(PULL_ARGUMENT_SPEC, images=images)

    assert differences("k8scr_pull", pull.run_pull(options, check_mode)) == []


@MODES
@pytest.mark.parametrize("verify", ["none", "manifests", "blobs", "content"])
def test_info_returns_documented_values(
    server: RegistryServer, image: Image, multi: Image, check_mode: bool, verify: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", image.digest.replace(":", "-") + ".sig", multi)
    server.fill("team/broken", "1", image)
    server.fail("GET", "team/broken/manifests/", error_response(404, "MANIFEST_UNKNOWN"))
    names = ["team/app:1", f"team/app@{multi.digest}", "team/app:2"]
    options = module_options(
        info.INFO_ARGUMENT_SPEC, repositories=["*"], images=names, verify=verify, referrers=True, labels=True
    )

    result = info.run_info(options, check_mode)

    assert result["missing"]
    assert result["incomplete"] or verify == "none"
    assert differences("k8scr_info", result) == []


@MODES
@pytest.mark.parametrize(
    "task",
    [
        {"name": "team/copy:1", "from": "team/app:1"},
        {"name": "team/app:1", "from": "team/app:1"},
        {"name": "team/copy:1", "from": "team/missing:1", "referrers": True},
        {"name": "team/app:1", "state": "absent"},
        {"name": "team/app@{digest}", "state": "absent"},
        {"name": "team/missing:1", "state": "absent"},
        {"name": f"team/app:1@sha256:{'0' * 64}", "state": "absent"},
    ],
)
def test_image_returns_documented_values(
    server: RegistryServer, image: Image, check_mode: bool, task: dict[str, Any]
) -> None:
    server.delete = by_tag
    server.fill("team/app", "1", image)
    name = task["name"].format(digest=image.digest)
    options = module_options(image_command.IMAGE_ARGUMENT_SPEC, **{**task, "name": name})

    assert differences("k8scr_image", image_command.run_image(options, check_mode)) == []


@MODES
@pytest.mark.parametrize("fails", [False, True])
def test_prune_returns_documented_values(
    server: RegistryServer,
    image: Image,
    other_image: Image,
    check_mode: bool,
    fails: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collector = FakeCollector(server)
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", other_image)
    server.fill("team/app", None, make_image(layer("bin/app", b"in use")))
    [used] = {digest for digest in server.manifests["team/app"] if ":" in digest} - {image.digest, other_image.digest}
    monkeypatch.setattr(prune, "find_image_uses", lambda *_arguments: ([use(f"team/app@{used}")], ()))
    collector.error = RegistryError("garbage collection failed") if fails else None
    monkeypatch.setattr(prune, "Collector", lambda *_arguments: collector)

    result = prune.run_prune(module_options(prune.PRUNE_ARGUMENT_SPEC, keep=["*:2"]), check_mode)

    assert result["images"]
    assert result["protected"]
    assert bool(result.get("failed")) is (fails and not check_mode)
    assert differences("k8scr_prune", result) == []


@MODES
@pytest.mark.parametrize("state", ["saved", "restored"])
@pytest.mark.parametrize("damaged", [False, True])
def test_carry_returns_documented_values(
    server: RegistryServer, image: Image, check_mode: bool, state: str, damaged: bool
) -> None:
    server.fill("team/app", "1", image)
    if damaged:
        del server.blobs["team/app"][image.layers[0]]
    options = module_options(carry.CARRY_ARGUMENT_SPEC, state=state)

    assert differences("k8scr_carry", carry.run_carry(options, check_mode)) == []


@MODES
@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("existing", [None, DEFINITION])
@pytest.mark.parametrize("error", [None, ApiServerError("forbidden", status=403)])
def test_apply_returns_documented_values(
    monkeypatch: pytest.MonkeyPatch,
    check_mode: bool,
    state: str,
    existing: Mapping[str, Any] | None,
    error: Exception | None,
) -> None:
    client = Mock(get=Mock(return_value=existing))
    client.apply.side_effect = client.delete.side_effect = error
    client.apply.return_value = {**DEFINITION, "data": {"a": "b"}}
    monkeypatch.setattr(apply, "KubernetesClient", lambda *_arguments: client)
    monkeypatch.setattr(apply, "connect", Mock(return_value=Mock(__enter__=Mock(), __exit__=Mock(return_value=False))))
    options = module_options(apply.APPLY_ARGUMENT_SPEC, definition=[DEFINITION, DEFINITION], state=state, wait=False)

    assert differences("k8scr_apply", apply.run_apply(options, check_mode)) == []


@MODES
def test_wait_returns_documented_values(monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    monkeypatch.setattr(wait, "connect", Mock(return_value=Mock(__enter__=Mock(), __exit__=Mock(return_value=False))))
    monkeypatch.setattr(wait, "pod_adapter", Mock())
    monkeypatch.setattr(wait, "_request_version", Mock())
    options = module_options(wait.WAIT_ARGUMENT_SPEC)

    assert differences("k8scr_wait", wait.run_wait(options, check_mode), check_mode=check_mode) == []


@MODES
def test_archive_info_returns_documented_values(tmp_path: Path, image: Image, check_mode: bool) -> None:
    archive = write_oci_archive(tmp_path / "app.tar", {"docker.io/team/app:1": image})
    module = FakeModule(ARCHIVE_INFO_ARGUMENT_SPEC, check_mode, archives=[str(archive)])

    assert differences("k8scr_archive_info", run_archive_info(module)) == []


@MODES
@pytest.mark.parametrize("runtime", ["containerd", "containers", "k3s"])
def test_mirror_returns_documented_values(tmp_path: Path, check_mode: bool, runtime: str) -> None:
    path = tmp_path / "registries.yaml" if runtime == "k3s" else tmp_path / "folder"
    module = FakeModule(
        MIRROR_ARGUMENT_SPEC,
        check_mode,
        runtime=runtime,
        path=str(path),
        endpoint="http://10.0.0.1:5001",
        upstreams=["docker.io", "quay.io"],
    )

    assert differences("k8scr_mirror", run_mirror(module)) == []


@MODES
@pytest.mark.parametrize("options", [{}, {"piece": "piece"}, {"piece_dir": "."}, {"piece": "piece", "piece_dir": "."}])
def test_send_part_returns_documented_values(tmp_path: Path, check_mode: bool, options: dict[str, str]) -> None:
    (tmp_path / "piece").write_bytes(b"content")
    paths = {name: str(tmp_path / path) for name, path in options.items()}
    module = FakeModule(
        SEND_PART_ARGUMENT_SPEC, check_mode, dest=str(tmp_path / "dest"), size=20, digest=digest_of(b""), **paths
    )

    assert differences("k8scr_send_part", run_send_part(module), options=options) == []


@MODES
def test_containerd_returns_documented_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 2\n")
    change = FileChange(config, "version = 2\n", "version = 3\n")
    monkeypatch.setattr(containerd, "plan_config_path", lambda *_arguments: (change, "/etc/containerd/certs.d"))
    module = FakeModule(containerd.CONTAINERD_ARGUMENT_SPEC, check_mode, config=str(config))

    assert differences("k8scr_containerd", containerd.run_containerd(module)) == []


@MODES
@pytest.mark.parametrize("state", ["present", "absent"])
def test_node_images_returns_documented_values(monkeypatch: pytest.MonkeyPatch, check_mode: bool, state: str) -> None:
    name = "docker.io/team/app:1"
    runtime = Mock(import_images=Mock(return_value={name: "imported"}), remove_images=Mock(return_value={}))
    monkeypatch.setattr(node_images, "open_runtime", lambda *_arguments: runtime)
    image = {"name": name, "digest": digest_of(b""), "file": "app.tar"}
    module = FakeModule(node_images.NODE_IMAGES_ARGUMENT_SPEC, check_mode, images=[image], state=state)

    assert differences("k8scr_node_images", node_images.run_node_images(module)) == []


@MODES
def test_node_export_returns_documented_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    image = FoundImage("docker.io/team/app:1", digest_of(b""), State.COMPLETE)
    dump = "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'registry.k8s.io/pause:3.10'\n"
    monkeypatch.setattr(node_export, "find_images", lambda *_arguments: [image])
    monkeypatch.setattr(node_export, "export_image", lambda *_arguments: None)
    monkeypatch.setattr(node_export, "effective_config", lambda *_arguments: dump)
    module = FakeModule(
        node_export.NODE_EXPORT_ARGUMENT_SPEC, check_mode, images=[{"name": image.name}], folder=str(tmp_path)
    )

    assert differences("k8scr_node_export", node_export.run_node_export(module)) == []


def test_critical_images_returns_documented_values(monkeypatch: pytest.MonkeyPatch) -> None:
    image = CriticalImage("registry.k8s.io/kube-proxy:v1", ("linux/amd64",), ("DaemonSet kube-system/kube-proxy",))
    monkeypatch.setattr(critical_images, "find_critical_images", lambda *_arguments: (image,))
    options = {"host": "https://127.0.0.1:1", "username": "me", "password": "mine", "verify_ssl": True}
    options |= {"namespace": "k8scr", "registry": "k8scr-0"}

    assert differences("k8scr_critical_images", critical_images.run_critical_images(options)) == []
