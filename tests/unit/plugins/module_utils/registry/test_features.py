# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a registry is and what it supports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.features import Features, find_features
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import Inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory_reader import take_inventory
from unit.plugins.module_utils.support.images import Image, encode
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

EMPTY = Inventory()
PROBE = "probe/tags/list"


def features_of(
    registry: Registry, inventory: Inventory = EMPTY, pod: dict[str, Any] | None = None, port: int = 5001
) -> Features:
    """Return the properties of the registry."""
    return find_features(registry, inventory, pod or {}, port)


@pytest.mark.parametrize(
    ("response", "software", "delete"),
    [
        (
            error_response(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested"),
            "distribution 3",
            None,
        ),
        (error_response(404, "NAME_UNKNOWN", "repository name not known to registry"), "distribution 2", None),
        (error_response(404, "NAME_UNKNOWN", "Unknown name"), "go-containerregistry", True),
        (error_response(404, "NAME_UNKNOWN", "no such repository"), None, None),
        (Response(200, {}, b'{"tags": []}'), None, None),
        (Response(404, {}, b"404 page not found"), None, None),
        (error_response(500, "UNKNOWN"), None, None),
    ],
)
def test_software_is_recognized_by_its_error_response(
    server: RegistryServer, registry: Registry, response: Response, software: str | None, delete: bool | None
) -> None:
    server.fail("GET", PROBE, response)
    assert features_of(registry) == Features(software, delete, None, None)


@pytest.mark.parametrize(("state", "read_only"), [("reader", True), ("running", True), ("ready", False)])
def test_header_of_collections_tells_deletion_and_kind_of_port(
    server: RegistryServer, registry: Registry, state: str, read_only: bool
) -> None:
    server.fail("GET", PROBE, lambda response: replace(response, headers={"K8scr-Collection": state}))
    assert features_of(registry) == Features("distribution 3", True, None, read_only)


@pytest.mark.parametrize(
    ("containers", "read_only"),
    [
        ([{"name": "registry", "ports": [{"containerPort": 5001}]}], None),
        ([{"name": "registry"}, {"name": "mirror", "ports": [{"containerPort": 5001}]}], True),
        ([{"name": "registry"}, {"name": "mirror", "ports": [{"containerPort": 5002}]}], False),
        ([{"name": "mirror", "ports": "x"}], False),
        ("x", None),
    ],
)
def test_container_of_port_tells_whether_it_is_read_only(
    registry: Registry, containers: Any, read_only: bool | None
) -> None:
    assert features_of(registry, pod={"spec": {"containers": containers}}).read_only is read_only


def test_referrers_api_is_recognized_by_list_of_an_image(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    inventory = take_inventory(registry, 4)
    assert features_of(registry, inventory).referrers_api is False
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }
    server.fail("GET", "referrers/", Response(200, {"Content-Type": index["mediaType"]}, encode(index)))
    assert features_of(registry, inventory).referrers_api is True
