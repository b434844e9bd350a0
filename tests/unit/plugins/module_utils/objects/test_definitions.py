# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions of objects: read and redacted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.definitions import (
    display_name,
    read_definitions,
    read_options,
    redact_definition,
    redact_secret,
    secret_values,
    without_server_fields,
)
from hypothesis import example, given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.fuzzing import bounds, fuzzed
from unit.plugins.module_utils.support.hostile_images import documents

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


def test_read_definitions_returns_object_for_each_document() -> None:
    text = "\n---\n".join(f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}" for name in "ab")

    assert names(text + "\n---\n") == ["a", "b"]


def test_read_definitions_flattens_nested_lists() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [config_map("b"), config_map("c")]}

    assert names([config_map("a"), [listed]]) == ["a", "b", "c"]


def test_read_definitions_returns_items_of_kubectl_lists() -> None:
    assert names({"apiVersion": "v1", "kind": "ConfigMapList", "items": [config_map("a")]}) == ["a"]


def test_read_definitions_is_empty_without_objects() -> None:
    assert read_definitions(None) == read_definitions("") == read_definitions([]) == []


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("a: b: c", r"^definition is not YAML \(line 1\)"),
        ("/path/to/file.yaml", r"has text that is not a Kubernetes object. Set src to use a file"),
        ([42], r"^item 1 of definition is not a Kubernetes object"),
        ({"kind": "Pod", "metadata": {"name": "x"}}, r"has Pod x without apiVersion, kind or metadata.name"),
        ({"apiVersion": "v1", "kind": "Pod"}, r"has Pod without"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 1}}, r"has Pod 1 without"),
        ({"apiVersion": 1, "kind": "Pod", "metadata": {"name": "x"}}, r"has Pod x without apiVersion"),
        ({}, r"has an object without"),
        ("kind: Pod", r"^definition has Pod without"),
        ("- kind: Pod", r"^item 1 of definition has Pod without"),
        ({**config_map("a"), "kind": ["List"]}, r"without apiVersion, kind or metadata.name"),
        (config_map("a", namespace=1), r"has ConfigMap a with a metadata.namespace that is not text"),
        (config_map(".."), r"has ConfigMap .. with an invalid name"),
        (config_map("a b"), r"has ConfigMap a b with an invalid name: a b"),
        (config_map("a?dryRun=All"), r"with an invalid name: a\?dryRun=All"),
        (config_map("a", namespace="../x"), r"has ConfigMap a with an invalid name: ../x"),
    ],
)
def test_read_definitions_names_problem_of_invalid_definition(definition: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_definitions(definition)


def test_read_definitions_names_document_of_invalid_definition() -> None:
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\n---\nkind: List\nitems: [{kind: Pod}]\n"

    with pytest.raises(InputError, match=r"^item 1 of document 3 of definition \(line 6\) has Pod without"):
        read_definitions(text)


def test_read_options_names_documents_of_file_with_several(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text("\n---\n".join(f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}}}" for name in "ab"))

    found = read_options(None, str(path))

    assert [definition.source for definition in found] == [
        f"document 1 of {path} (line 1)",
        f"document 2 of {path} (line 3)",
    ]


def test_read_definitions_keeps_dates_as_text() -> None:
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {day: 2026-11-01, time: 22:30}}"

    (item,) = read_definitions(text)

    assert item["data"] == {"day": "2026-11-01", "time": "22:30"}


def test_read_options_rejects_endless_file() -> None:
    with pytest.raises(InputError, match="/dev/zero has more than 64 MiB"):
        read_options(None, "/dev/zero")


def test_read_options_names_invalid_file(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text("kind: {", encoding="utf-8")

    with pytest.raises(InputError, match=f"{path} is not YAML"):
        read_options(None, str(path))


def test_read_options_names_host_for_missing_file() -> None:
    with pytest.raises(
        InputError, match=r"/nowhere.yaml cannot be read: No such file.*on the host that runs the module"
    ):
        read_options(None, "/nowhere.yaml")


@pytest.mark.parametrize(
    ("item", "namespace", "name"),
    [
        (config_map("a"), None, "ConfigMap a"),
        (config_map("a", namespace="own"), None, "ConfigMap own/a"),
        (config_map("a", namespace="own"), "given", "ConfigMap given/a"),
    ],
)
def test_display_name_has_kind_namespace_and_name(item: dict[str, Any], namespace: str | None, name: str) -> None:
    assert display_name(item, namespace) == name


def test_without_server_fields_removes_status_and_metadata_of_server() -> None:
    item = {**config_map("a", uid="1", resourceVersion="2", managedFields=[], labels={"x": "y"}), "status": {"x": 1}}

    assert without_server_fields(item) == config_map("a", labels={"x": "y"})


def test_without_server_fields_returns_copy() -> None:
    item = config_map("a", uid="1")

    without_server_fields(item)["metadata"]["name"] = "b"

    assert item == config_map("a", uid="1")


def test_redact_secret_redacts_values() -> None:
    redacted = redact_secret(SECRET)

    assert "canary" not in str(redacted)
    assert list(redacted["data"]) == ["same", "other"]


def test_redact_secret_marks_values_that_differ() -> None:
    other = {**SECRET, "data": {"same": "canary-a", "other": "canary-z"}}

    redacted = redact_secret(SECRET, other, "before")

    assert redacted["data"] == {"same": "********", "other": "******** (before)"}


def test_redact_secret_returns_copy() -> None:
    redact_secret(SECRET)

    assert SECRET["data"] == {"same": "canary-a", "other": "canary-b"}


def test_redact_secret_keeps_values_of_other_kinds() -> None:
    assert redact_secret({**config_map("a"), "data": {"x": "y"}})["data"] == {"x": "y"}


def test_secret_values_returns_all_values_of_secret() -> None:
    assert secret_values(SECRET) == {"canary-a", "canary-b", "canary-c"}


def test_secret_values_is_empty_for_other_kinds() -> None:
    assert secret_values({**config_map("a"), "data": {"x": "y"}}) == set()


def test_redact_definition_redacts_values_of_secrets() -> None:
    assert "canary" not in str(redact_definition([SECRET]))


def test_redact_definition_redacts_invalid_definition_as_a_whole() -> None:
    assert redact_definition("canary: {") == "********"


def test_read_options_rejects_options_without_objects() -> None:
    with pytest.raises(InputError, match="definition has no Kubernetes object"):
        read_options(None, None)


def test_read_options_names_lookup_for_vault_file(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")

    with pytest.raises(InputError, match="is encrypted by Ansible Vault") as caught:
        read_options(None, str(tmp_path / "secret.yaml"))

    assert f"definition: \"{{{{ lookup('ansible.builtin.file', '{tmp_path}/secret.yaml') }}}}\"" in str(caught.value)


@fuzzed
@given(content=st.one_of(documents(SECRET), documents({"kind": "List", "items": [config_map("a"), SECRET]})))
@example(content=b"{" * 3000)
def test_random_definition_is_read_or_rejected(content: bytes) -> None:
    with bounds(valid=False):
        for item in read_definitions(content):
            assert display_name(item).endswith(item["metadata"]["name"])
            redact_secret(item, redact_secret(item), "before")
            json.dumps([without_server_fields(item), sorted(secret_values(item))], allow_nan=False)
