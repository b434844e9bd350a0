# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects in JSON values of any type."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.json_object import json_object, json_objects

OTHER_VALUES = [None, True, 1, 1.5, "", "text", [], [{"a": 1}]]


def test_object_is_returned_unchanged() -> None:
    assert json_object({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("value", OTHER_VALUES)
def test_other_value_is_replaced_by_empty_object(value: object) -> None:
    assert json_object(value) == {}


def test_only_objects_of_a_list_are_yielded() -> None:
    assert list(json_objects([{"a": 1}, *OTHER_VALUES, {}])) == [{"a": 1}, {}]


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", {"a": {"b": 1}}])
def test_value_that_is_no_list_has_no_objects(value: object) -> None:
    assert list(json_objects(value)) == []
