# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML and JSON texts, read as kubectl reads them."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.yaml_text import (
    MAXIMUM_DEPTH,
    json_value,
    read_documents,
)
from hypothesis import example, given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.fuzzing import bounds, fuzzed
from unit.plugins.module_utils.support.kubectl_values import REJECTED, VALUES

LAUGHS = "a0: &a0 lol\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
TOKENS = [
    *("a: ", "- ", "? ", ": ", "[", "]", "{", "}", ",", "\n", "\n  ", "\t", "---\n", "...\n", "&x ", "*x", "<<: ", "#"),
    *("!!int ", "!!binary ", "!vault ", "!<x> ", "! ", "'", '"', "|\n", ">-\n", "%YAML 1.1\n", "@", "`", "\\ud800"),
    *("2026-11-01", "2026-13-45", "22:30", "0o644", "1e999", "9" * 5000, ".inf", "\ufeff", "\x00", "\ud800", "\xe9"),
]


def read(text: str | bytes) -> list[Any]:
    return [document.value for document in read_documents(text, "file.yaml")]


@pytest.fixture(params=[True, False], ids=["libyaml", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with libyaml, and without it."""
    if not request.param:
        monkeypatch.delattr(yaml, "CSafeLoader")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_value_is_read_as_by_kubectl(text: str, value: Any) -> None:
    (document,) = read(f"value: {text}\n")

    assert document == {"value": value}
    assert type(document["value"]) is type(value) or value == float(document["value"])


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "message"), REJECTED.items())
def test_value_that_kubectl_rejects_is_rejected(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(f"value: {text}\n")

    assert "file.yaml" in caught.value.message


def test_tab_between_tokens_is_accepted() -> None:
    assert read("a:\tb\t# comment\n") == [{"a": "b"}]


def test_json_indented_with_tabs_is_read() -> None:
    assert read(json.dumps({"a": [1, {"b": None}]}, indent="\t")) == [{"a": [1, {"b": None}]}]


def test_json_values_follow_each_other_without_separator() -> None:
    documents = read_documents('{"a": 1}{"b": 2.0}\n\n{"c": 1e3}\n', "file.json")

    assert [(document.value, document.line) for document in documents] == [
        ({"a": 1}, 1),
        ({"b": 2}, 1),
        ({"c": 1000}, 3),
    ]


def test_yaml_that_begins_with_brace_is_read() -> None:
    assert read("{a: 0o17, b: [22:30]}\n---\nc: d\n") == [{"a": 15, "b": ["22:30"]}, {"c": "d"}]


def test_documents_have_numbers_of_their_lines() -> None:
    documents = read_documents("# comment\n---\na: 1\n---\n---\n\nb:\n- 2\n---\n", "file.yaml")

    assert [(document.value, document.line) for document in documents] == [
        ({"a": 1}, 3),
        (None, 5),
        ({"b": [2]}, 7),
        (None, 10),
    ]


@pytest.mark.parametrize("text", ["", "\n", "# comment\n", "\ufeff"])
def test_text_without_value_has_no_documents(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["a: \xe9\n", '{"a": "\xe9"}'])
def test_encoding_is_recognized(text: str, encoding: str) -> None:
    assert read(text.encode(encoding)) == [{"a": "\xe9"}]


@pytest.mark.parametrize("content", [b"a: \xff", b"\xff\xfea", b"\x80"])
def test_error_names_file_that_is_not_text(content: bytes) -> None:
    with pytest.raises(InputError, match=r"file.yaml is not text. Save it in UTF-8"):
        read(content)


def test_error_names_line_and_reason() -> None:
    with pytest.raises(InputError, match=r"^file.yaml is not YAML \(line 3\): mapping values are not allowed"):
        read("a:\n  b: 1\n  c: d: e\n")


def test_error_names_line_of_value() -> None:
    with pytest.raises(InputError, match=r"^file.yaml, line 2, has the number .nan"):
        read("a: 1\nb: .nan\n")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text", ["password: *canary-x\n", "password: !canary!x y\n", "canary: {\n", "password: &canary"], ids=range(4)
)
def test_error_does_not_show_values(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text + "\n- x: [")

    assert "canary" not in str(caught.value)


def test_error_names_vault_for_encrypted_value() -> None:
    with pytest.raises(InputError, match=r"file\.yaml, line 1 is encrypted by Ansible Vault"):
        read("password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, '{"a":' * 100_000, "? " * 10_000], ids=range(4))
def test_deep_nesting_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match=f"more than {MAXIMUM_DEPTH} nested lists"), bounds(valid=True):
        read(text)


@pytest.mark.parametrize("text", [LAUGHS, f"a: &a {'x' * 1_000_000}\nb: [{', '.join(['*a'] * 100)}]\n"], ids=range(2))
def test_aliases_that_repeat_much_text_are_rejected(text: str) -> None:
    with pytest.raises(InputError, match="aliases that repeat more than 16 MiB"), bounds(valid=True):
        read(text)


@pytest.mark.parametrize(
    ("given_value", "value"),
    [
        ({1: "a", False: "b", 2.5: "c"}, {"1": "a", "false": "b", "2.5": "c"}),
        (datetime.date(2026, 11, 1), "2026-11-01"),
        ((1.0, 2.5, 1 << 63), [1, 2.5, 1 << 63]),
    ],
)
def test_value_of_ansible_is_converted_to_json(given_value: Any, value: Any) -> None:
    assert json_value(given_value, "definition") == value


@pytest.mark.parametrize("value", [b"x", float("nan"), 10**400, {None: 1}, {(1,): 1}, "\ud800", {1, 2}], ids=repr)
def test_value_that_json_cannot_represent_is_rejected(value: Any) -> None:
    with pytest.raises(InputError, match=r"^definition has "):
        json_value([value], "definition")


@fuzzed
@given(text=st.one_of(st.text(), st.lists(st.sampled_from(TOKENS), max_size=40).map("".join)))
@example(text="{" * 3000)
@example(text=LAUGHS)
def test_random_text_has_values_of_json_or_is_rejected(text: str) -> None:
    with bounds(valid=False):
        values = read(text)
        assert json.loads(json.dumps(values, allow_nan=False)) == values


@fuzzed
@given(content=st.binary())
def test_random_bytes_are_read_or_rejected(content: bytes) -> None:
    with bounds(valid=False):
        read(content)
