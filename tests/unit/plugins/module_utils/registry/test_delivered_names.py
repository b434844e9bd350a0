# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of the images that a registry has, in a ConfigMap."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import is_repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.delivered_names import (
    DeliveredNames,
    Name,
    NamesChange,
)
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.delivered_lists import LABELS, PATH, NamesServer, names_of
from unit.plugins.module_utils.support.fuzzing import fuzzed
from unit.plugins.module_utils.support.object_server import Fault, failure

DIGEST = f"sha256:{'5a' * 32}"
_COMPONENT = st.from_regex(r"[a-z0-9]{1,4}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}", fullmatch=True)
REPOSITORIES = st.lists(_COMPONENT, min_size=1, max_size=5).map("/".join)


@pytest.fixture
def server() -> Iterator[NamesServer]:
    """An API server with an empty list."""
    running = NamesServer()
    running.store()
    yield running
    running.stop()


def add(names: DeliveredNames, *added: Name, check_mode: bool = False) -> NamesChange | None:
    return names.change(lambda _listed: (added, ()), check_mode)


def remove(names: DeliveredNames, *removed: Name) -> NamesChange | None:
    return names.change(lambda _listed: ((), removed))


def test_list_has_key_for_each_repository_with_sorted_tags_and_digests(server: NamesServer) -> None:
    add(names_of(server), ("team/api", "v2"), ("team/api", DIGEST), ("team/api", "1.0"), ("web", "1"))

    assert server.data == {"team._api": f"1.0 {DIGEST} v2", "web": "1"}


@fuzzed
@given(st.sets(st.tuples(REPOSITORIES, st.sampled_from(["1.0", "latest", DIGEST])), max_size=20))
def test_list_returns_names_that_were_added(added: set[Name]) -> None:
    server = NamesServer()
    server.store()
    try:
        add(names_of(server), *added)

        assert names_of(server).read() == frozenset(added)
        assert all(re.fullmatch("[-._a-zA-Z0-9]{1,253}", key) for key in server.data)
        assert all(is_repository(repository) for repository, _reference in added)
    finally:
        server.stop()


def test_key_is_deleted_with_last_name_of_repository(server: NamesServer) -> None:
    server.store({"team._api": "1", "web": "1"})

    remove(names_of(server), ("team/api", "1"))

    assert server.data == {"web": "1"}


def test_unchanged_list_is_read_once_and_not_patched(server: NamesServer) -> None:
    server.store({"web": "1"})

    change = add(names_of(server), ("web", "1"))

    assert change is not None
    assert not change.changed
    assert [request.method for request in server.requests] == ["GET"]


def test_check_mode_returns_change_without_patch(server: NamesServer) -> None:
    change = add(names_of(server), ("web", "1"), check_mode=True)

    assert change is not None
    assert change.diff == {
        "before": "",
        "after": "web:1\n",
        "before_header": "k8scr-delivered",
        "after_header": "k8scr-delivered",
    }
    assert server.data == {}


def test_change_of_other_client_is_kept(server: NamesServer) -> None:
    others = iter([("web", "2"), ("web", "3")])

    def change() -> None:
        other = next(others, None)
        if other:
            version = int(server.objects[PATH]["metadata"]["resourceVersion"])
            server.store({"web": " ".join([*server.data.get("web", "").split(), other[1]])})
            server.objects[PATH]["metadata"]["resourceVersion"] = str(version + 1)

    server.before_patch = change

    add(names_of(server), ("web", "1"))

    assert server.data == {"web": "1 2 3"}


def test_patch_has_changed_keys_only(server: NamesServer) -> None:
    server.store({"team._api": "1", "web": "1"})

    add(names_of(server), ("web", "2"))

    (patch,) = server.requests_for("PATCH", PATH)
    assert json.loads(patch.body)["data"] == {"web": "1 2"}


def test_repository_that_is_too_long_for_key_is_not_added(server: NamesServer) -> None:
    longest, longer = f"a/{'b' * 250}", f"a/{'b' * 251}"

    add(names_of(server), (longest, "1"), (longer, "1"))

    assert list(server.data) == [f"a._{'b' * 250}"]


@pytest.mark.parametrize(
    "data", [{"web": "  1   2 "}, {"web": "2 1 1"}, {"web": "1 2", "Not/a": "1"}, {"web": "1 2", "..": "x"}]
)
def test_edited_values_are_read(server: NamesServer, data: dict[str, str]) -> None:
    server.store(data)

    assert names_of(server).read() == frozenset({("web", "1"), ("web", "2")})


def test_missing_list_is_not_changed(server: NamesServer) -> None:
    server.objects.clear()

    assert names_of(server).read() is None
    assert add(names_of(server), ("web", "1")) is None


def test_list_that_is_deleted_before_patch_is_not_changed(server: NamesServer) -> None:
    server.before_patch = server.objects.clear

    assert add(names_of(server), ("web", "1")) is None


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/name": "registry"}, {**LABELS, list(LABELS)[1]: "web"}])
def test_config_map_without_labels_of_registry_is_not_changed(server: NamesServer, labels: dict[str, str]) -> None:
    server.store({"index.html": "hello"}, labels)
    names = names_of(server)

    assert add(names, ("web", "1")) is None
    for write in (names.create, names.delete):
        with pytest.raises(InputError, match="is not the list of delivered names: it does not have the labels"):
            write()
    assert server.data == {"index.html": "hello"}


def test_list_is_created_with_labels_of_registry(server: NamesServer) -> None:
    server.objects.clear()

    assert names_of(server).create()
    assert not names_of(server).create()
    assert server.objects[PATH]["metadata"]["labels"] == LABELS


def test_list_is_deleted_once(server: NamesServer) -> None:
    assert names_of(server).delete()
    assert not names_of(server).delete()
    assert PATH not in server.objects


def test_list_that_other_client_creates_first_is_kept(server: NamesServer) -> None:
    server.objects.clear()
    server.faults.append(Fault("POST", "/configmaps", failure(409, "already exists")))

    assert not names_of(server).create()


def test_error_of_large_list_names_limit(server: NamesServer) -> None:
    reason = "ConfigMap is invalid: []: Too long: may not be more than 1048576 bytes"
    server.faults.append(Fault("PATCH", PATH, failure(422, reason)))

    with pytest.raises(ApiServerError, match=r"Too long.*A ConfigMap has up to 1 MiB") as caught:
        add(names_of(server), ("web", "1"))
    assert caught.value.status == 422


def test_missing_permission_is_error_with_permission(server: NamesServer) -> None:
    server.faults.append(Fault("GET", PATH, failure(403, "forbidden")))

    with pytest.raises(
        ApiServerError, match=r"forbidden\. Allow get on the ConfigMap k8scr-delivered in namespace k8s"
    ):
        names_of(server).read()


def test_interrupted_request_is_repeated(server: NamesServer) -> None:
    server.faults.append(Fault("PATCH", PATH, carried_out=True))

    change = add(names_of(server), ("web", "1"))

    assert change is not None
    assert server.data == {"web": "1"}


def test_pod_without_stateful_set_has_no_list(server: NamesServer) -> None:
    with pytest.raises(InputError, match="does not belong to a StatefulSet"):
        names_of(server, "registry")
