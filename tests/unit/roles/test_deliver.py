# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The validation of the playbook deliver, which needs no cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import (
    open_bundle_store,
    parse_location,
)
from unit.plugins.module_utils.support.bundles import NAME, write_bundle
from unit.plugins.module_utils.support.images import layer, make_image

Deliver = Callable[..., subprocess.CompletedProcess[str]]
REGISTRY = {"registry.tar": b"archive"}
FIRST_CHANGE = "Import the archive of the registry's image"


@pytest.fixture
def deliver(run_plays: Callable[..., subprocess.CompletedProcess[str]]) -> Deliver:
    """Runs the playbook with variables, and returns the ended process with unwrapped output."""

    def run(**variables: Any) -> subprocess.CompletedProcess[str]:
        done = run_plays({"import_playbook": "k8scr.core.deliver"}, deliver_hosts="all", **variables)
        done.stdout = " ".join(done.stdout.split())
        return done

    return run


def make_bundle(location: str, extras: dict[str, bytes]) -> None:
    """Write a bundle of one image and other files."""
    write_bundle(open_bundle_store(parse_location(location)), (NAME, make_image()), extras=extras)


def assert_rejected(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Assert that the playbook failed with a message before the first change."""
    assert done.returncode != 0
    assert message in done.stdout
    assert FIRST_CHANGE not in done.stdout
    assert "changed=1" not in done.stdout


def test_deliver_rejects_classic_pod_without_endpoint_for_the_nodes(deliver: Deliver) -> None:
    done = deliver(registry_kind="Pod")

    assert_rejected(done, "the classic Pod has no Service from which the nodes can pull")


def test_deliver_rejects_unknown_method(deliver: Deliver) -> None:
    assert_rejected(deliver(deliver_nodes="agent"), "deliver_nodes is agent. Set it to ssh, policy or daemonset.")


def test_deliver_rejects_classic_pod_without_address_for_policy(deliver: Deliver) -> None:
    done = deliver(registry_kind="Pod", deliver_nodes="policy")

    assert_rejected(done, "the classic Pod has no node port")


def test_deliver_without_nodes_in_inventory_uses_policy_on_localhost(
    run_plays: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_plays({"import_playbook": "k8scr.core.deliver"}, deliver_check=[{"image": "team/api:1"}])
    done.stdout = " ".join(done.stdout.split())

    assert "fatal: [localhost]" in done.stdout
    assert_rejected(done, "deliver_nodes is policy")


def test_deliver_rejects_folder_beside_bundle(deliver: Deliver) -> None:
    done = deliver(deliver_bundle="/media/app", deliver_folder="/media/app")

    assert_rejected(done, "deliver_bundle and deliver_folder are both set. Set one of them")


def test_deliver_verifies_bundle_once_and_skips_all_nodes_if_it_is_damaged(deliver: Deliver, tmp_path: Path) -> None:
    make_bundle(str(tmp_path / "app"), REGISTRY)
    (tmp_path / "app/registry.tar").write_bytes(b"damaged")

    done = deliver(hosts=2, deliver_bundle=str(tmp_path / "app"))

    assert_rejected(done, "registry.tar")
    assert done.stdout.count("fatal:") == 1
    assert done.stdout.count("failed=1") == 1


def test_deliver_fails_without_archive_of_registry_in_bundle(deliver: Deliver, tmp_path: Path) -> None:
    make_bundle(str(tmp_path / "app"), {})

    done = deliver(deliver_bundle=str(tmp_path / "app"))

    assert_rejected(done, f"The bundle {tmp_path}/app has no registry.tar")


def test_deliver_needs_no_archive_of_registry_without_access_to_nodes(deliver: Deliver, tmp_path: Path) -> None:
    make_bundle(str(tmp_path / "app"), {})

    done = deliver(deliver_bundle=str(tmp_path / "app"), deliver_nodes="policy", deliver_kubeconfig="/none")

    # The playbook fails at the cluster, which does not exist.
    assert "Look up existing objects" in done.stdout
    assert "has no registry.tar" not in done.stdout


def test_deliver_needs_extracted_archive_of_registry_for_bundle_in_archive(deliver: Deliver, tmp_path: Path) -> None:
    make_bundle(f"oci-archive:{tmp_path}/app.tar", REGISTRY)

    done = deliver(deliver_bundle=str(tmp_path / "app.tar"))

    assert_rejected(done, f"extract it with `tar -xf {tmp_path}/app.tar registry.tar`")


def make_volumes(folder: Path) -> Path:
    """Write a bundle on two volumes, rename the first one, delete the second one, and return the folder."""
    image = make_image(*(layer(name, os.urandom(1 << 20)) for name in ("one", "two")))
    store = open_bundle_store(parse_location(str(folder)), 3 << 19)
    write_bundle(store, (NAME, image), extras=REGISTRY)
    (folder / "volume-1").rename(folder / "dvd")
    shutil.rmtree(folder / "volume-2")
    return folder


def test_deliver_rejects_bundle_without_one_volume(deliver: Deliver, tmp_path: Path) -> None:
    assert_rejected(deliver(deliver_bundle=str(make_volumes(tmp_path / "app"))), "volume 2")


def test_deliver_reads_inserted_volume_of_bundle(deliver: Deliver, tmp_path: Path) -> None:
    done = deliver(deliver_bundle=str(make_volumes(tmp_path / "app")), deliver_missing_volumes=True)

    # The file is no archive, so the next task fails.
    assert f"{tmp_path}/app/dvd/registry.tar" in done.stdout.partition(FIRST_CHANGE)[2]
