# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes objects as users write them, and as they may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.definitions import (
    describe,
    essence,
    read_definitions,
    read_file,
    read_given,
    redacted_definition,
    secret_values,
    shown,
)

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"}},
    "data": {"same": "canary-a", "other": "canary-b"},
    "stringData": {"text": "canary-c"},
}


def config_map(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def names(definition: Any) -> list[str]:
    return [item["metadata"]["name"] for item in read_definitions(definition)]


def test_yaml_of_many_documents_is_many_objects() -> None:
    text = "\n---\n".join(f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}" for name in "ab")

    assert names(text + "\n---\n") == ["a", "b"]


def test_lists_of_any_depth_are_taken_apart() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [config_map("b"), config_map("c")]}

    assert names([config_map("a"), [listed]]) == ["a", "b", "c"]


def test_the_lists_that_kubectl_prints_are_taken_apart() -> None:
    assert names({"apiVersion": "v1", "kind": "ConfigMapList", "items": [config_map("a")]}) == ["a"]


def test_nothing_is_no_object() -> None:
    assert read_definitions(None) == read_definitions("") == read_definitions([]) == []


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("a: b: c", r"^definition is not YAML \(line 1\)"),
        ("/path/to/file.yaml", r"holds text that is no Kubernetes object. Give paths with src"),
        ([42], r"holds something that is no Kubernetes object"),
        ({"kind": "Pod", "metadata": {"name": "x"}}, r"holds Pod x without apiVersion, kind or metadata.name"),
        ({"apiVersion": "v1", "kind": "Pod"}, r"holds Pod without"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 1}}, r"holds Pod 1 without"),
        ({}, r"holds an object without"),
    ],
)
def test_what_is_no_object_is_refused_with_the_reason(definition: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_definitions(definition)


def test_a_file_is_named_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text("kind: {", encoding="utf-8")

    with pytest.raises(InputError, match=f"{path} is not YAML"):
        read_file(str(path))


def test_a_file_that_is_missing_is_said_to_be_read_where_the_module_runs() -> None:
    with pytest.raises(
        InputError, match=r"/nowhere.yaml cannot be read: No such file.*on the host that runs the module"
    ):
        read_file("/nowhere.yaml")


@pytest.mark.parametrize(
    ("item", "namespace", "name"),
    [
        (config_map("a"), None, "ConfigMap a"),
        (config_map("a", namespace="own"), None, "ConfigMap own/a"),
        (config_map("a", namespace="own"), "given", "ConfigMap given/a"),
    ],
)
def test_an_object_is_named_by_kind_namespace_and_name(item: dict[str, Any], namespace: str | None, name: str) -> None:
    assert describe(item, namespace) == name


def test_what_the_cluster_keeps_account_of_is_not_the_essence() -> None:
    item = {**config_map("a", uid="1", resourceVersion="2", managedFields=[], labels={"x": "y"}), "status": {"x": 1}}

    assert essence(item) == config_map("a", labels={"x": "y"})


def test_the_essence_leaves_the_object_as_it_is() -> None:
    item = config_map("a", uid="1")

    essence(item)["metadata"]["name"] = "b"

    assert item == config_map("a", uid="1")


def test_the_essence_of_nothing_is_empty() -> None:
    assert essence(None) == {}


def test_a_secret_is_shown_without_its_values() -> None:
    seen = shown(SECRET)

    assert "canary" not in str(seen)
    assert list(seen["data"]) == ["same", "other"]


def test_a_secret_of_which_a_value_differs_shows_which() -> None:
    other = {**SECRET, "data": {"same": "canary-a", "other": "canary-z"}}

    seen = shown(SECRET, other, "before")

    assert seen["data"] == {"same": "********", "other": "******** (before)"}


def test_showing_a_secret_leaves_it_as_it_is() -> None:
    shown(SECRET)

    assert SECRET["data"] == {"same": "canary-a", "other": "canary-b"}


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    assert shown({**config_map("a"), "data": {"x": "y"}})["data"] == {"x": "y"}


def test_a_secrets_values_are_known() -> None:
    assert secret_values(SECRET) == {"canary-a", "canary-b", "canary-c"}


def test_what_is_no_secret_has_no_values_to_hide() -> None:
    assert secret_values({**config_map("a"), "data": {"x": "y"}}) == set()


def test_definition_is_shown_without_values_of_secrets() -> None:
    assert "canary" not in str(redacted_definition([SECRET]))


def test_definition_that_cannot_be_read_is_not_shown_at_all() -> None:
    assert redacted_definition("canary: {") == "********"


def test_no_object_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="definition holds no Kubernetes object"):
        read_given(None, None)


def test_file_that_is_vaulted_is_named_with_the_lookup_that_decrypts_it(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")

    with pytest.raises(InputError, match="is encrypted by Ansible Vault") as caught:
        read_given(None, str(tmp_path / "secret.yaml"))

    assert f"definition: \"{{{{ lookup('ansible.builtin.file', '{tmp_path}/secret.yaml') }}}}\"" in str(caught.value)
