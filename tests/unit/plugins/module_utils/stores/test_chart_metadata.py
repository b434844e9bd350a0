# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The metadata of charts: the config and the annotations that ``helm push`` makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.yaml_text import read_documents
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.chart_metadata import ChartMetadata
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.charts import CHART

_BASE = "apiVersion: v2\nname: app\nversion: 1.2.3\n"


def metadata(text: str, requirements: str | None = None) -> ChartMetadata:
    """Return the metadata of a chart with these files."""
    chart, more = (read_documents(each, "Chart.yaml")[0].value if each else None for each in (text, requirements))
    return ChartMetadata(chart, more)


def test_config_has_bytes_of_helm_push() -> None:
    # Written by helm 3.22.0.
    assert metadata(CHART).config.decode() == (
        '{"name":"app","home":"https://example.com/?a=1\\u0026b=2","sources":["https://example.com/src",'
        '"https://example.com/2 "],"version":"1.2.3+build.5","description":"Several lines \\u003cb\\u003e\\u0026amp; '
        '\\"quotes\\" and é ","keywords":["a","1","2.5","true",""],"maintainers":[{"name":"Ann","email":'
        '"ann@example.com","url":"https://example.com"},{"email":"bob@example.com"},{"name":"Eve"}],"apiVersion":"v2",'
        '"appVersion":"1.1","deprecated":true,"annotations":{"number":"7","org.opencontainers.image.licenses":"MIT",'
        '"org.opencontainers.image.title":"other"},"dependencies":[{"name":"redis","version":"17.x","repository":'
        '"https://charts.example.com","tags":["cache","1"],"import-values":["data",{"child":"a","parent":"b"}]},'
        '{"name":"other","repository":"","enabled":true}]}'
    )


def test_annotations_are_those_of_helm_push_without_time() -> None:
    assert metadata(CHART).annotations == {
        "number": "7",
        "org.opencontainers.image.authors": "Ann (ann@example.com),  (bob@example.com), Eve",
        "org.opencontainers.image.description": 'Several lines <b>&amp; "quotes" and é ',
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.source": "https://example.com/src",
        "org.opencontainers.image.title": "app",
        "org.opencontainers.image.url": "https://example.com/?a=1&b=2",
        "org.opencontainers.image.version": "1.2.3+build.5",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0", "1"),
        ("20.04", "20.04"),
        ("1234567.5", "1.2345675e+06"),
        ("999999.5", "999999.5"),
        ("0.000012", "1.2e-05"),
        ("3.14159265358979", "3.1415927"),
        ("20240115", "20240115"),
        ("0x1F", "31"),
        ("2024-01-15", "2024-01-15"),
        ("12:30:45", "12:30:45"),
        ("on", "true"),
        ('"a\\tb\\u0007c\\u00a0d\\u2028e\\u200bf"', "a bc d ef"),
    ],
)
def test_app_version_is_text_as_helm_reads_it(text: str, expected: str) -> None:
    assert json.loads(metadata(f"{_BASE}appVersion: {text}\n").config)["appVersion"] == expected


def test_config_has_dependencies_of_requirements_file() -> None:
    chart = metadata("name: app\nversion: 1.2.3\n", "dependencies: [{name: sub, version: 1.0.0}]\n")

    assert json.loads(chart.config) == {
        "name": "app",
        "version": "1.2.3",
        "apiVersion": "v1",
        "dependencies": [{"name": "sub", "version": "1.0.0", "repository": ""}],
    }


@pytest.mark.parametrize(
    ("chart", "reason"),
    [
        ([], "Chart.yaml is not a dictionary"),
        ({}, "Chart.yaml has the name ''"),
        ({"name": "../app", "version": "1.2.3"}, "Chart.yaml has the name '../app'"),
        ({"name": "..", "version": "1.2.3"}, "has the name"),
        ({"name": "app"}, "Chart.yaml has the version ''"),
        ({"name": "app", "version": "latest"}, "has the version 'latest'"),
        ({"name": "app", "version": "1.2.3", "type": "other"}, "type other than"),
        ({"name": "app", "version": "1.2.3", "home": []}, "home in Chart.yaml is not text"),
        ({"name": "app", "version": "1.2.3", "keywords": "x"}, "keywords in Chart.yaml is not a list"),
        ({"name": "app", "version": "1.2.3", "keywords": [{}]}, "keywords in Chart.yaml is not text"),
        ({"name": "app", "version": "1.2.3", "deprecated": "x"}, "deprecated in Chart.yaml is neither true nor false"),
        ({"name": "app", "version": "1.2.3", "annotations": []}, "annotations in Chart.yaml is not a dictionary"),
        ({"name": "app", "version": "1.2.3", "annotations": {"a": []}}, "annotations in Chart.yaml is not text"),
        ({"name": "app", "version": "1.2.3", "maintainers": [None]}, "maintainers in Chart.yaml has an empty entry"),
        ({"name": "app", "version": "1.2.3", "dependencies": ["x"]}, "dependencies in Chart.yaml is not a dictionary"),
    ],
)
def test_chart_that_helm_rejects_is_an_error(chart: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ChartMetadata(chart)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["description", "sources", "maintainers", "annotations", "dependencies", "appVersion"])


@given(st.dictionaries(_FIELDS, _VALUES))
def test_metadata_is_read_or_rejected_for_any_values(fields: dict[str, Any]) -> None:
    try:
        chart = ChartMetadata({"name": "app", "version": "1.2.3", **fields})
        content = chart.config
    except InputError:
        return

    assert json.loads(content)["name"] == "app"
    assert all(isinstance(text, str) for text in chart.annotations.values())
