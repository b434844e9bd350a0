# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The validation of the playbook deliver, which needs no cluster."""

from __future__ import annotations

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
from unit.plugins.module_utils.support.images import make_image

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


def test_deliver_names_missing_bundle(deliver: Deliver, tmp_path: Path) -> None:
    assert_rejected(deliver(deliver_bundle=str(tmp_path / "missing")), f"{tmp_path}/missing")


def test_deliver_needs_archive_of_registry_that_bundle_lacks(deliver: Deliver, tmp_path: Path) -> None:
    make_bundle(str(tmp_path / "app"), {})

    done = deliver(deliver_bundle=str(tmp_path / "app"))

    assert_rejected(done, f"The bundle {tmp_path}/app has no registry.tar")


def test_deliver_needs_extracted_archive_of_registry_for_bundle_in_archive(deliver: Deliver, tmp_path: Path) -> None:
    make_bundle(f"oci-archive:{tmp_path}/app.tar", REGISTRY)

    done = deliver(deliver_bundle=str(tmp_path / "app.tar"))

    assert_rejected(done, f"extract it with `tar -xf {tmp_path}/app.tar registry.tar`")


def test_deliver_finds_archive_of_registry_in_bundle(deliver: Deliver, tmp_path: Path) -> None:
    # The file is no archive, so the next task fails.
    make_bundle(str(tmp_path / "app"), REGISTRY)

    done = deliver(deliver_bundle=str(tmp_path / "app"))

    assert FIRST_CHANGE in done.stdout
    assert f"{tmp_path}/app/registry.tar" in done.stdout.partition(FIRST_CHANGE)[2]
