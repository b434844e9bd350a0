# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests: k8scr_apply reads them as kubectl does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.kubectl import kubectl
from unit.plugins.module_utils.support.kubectl_values import REJECTED, VALUES

from .conftest import Task


def object_with(number: int, text: str) -> str:
    """Return the YAML of an object with a value that the API server does not validate."""
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: value-{number}}}\nvalue: {text}\n"


def read_by_kubectl(manifest: str) -> list[dict[str, Any]]:
    """Return the objects that kubectl reads from a manifest."""
    text = kubectl("create", "--dry-run=client", "--validate=false", "--output=json", "--filename=-", stdin=manifest)
    # Integers that do not fit into 64 bits are fractions in Go.
    decoder = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits))
    position = 0
    objects: list[dict[str, Any]] = []
    while text[position:].strip():
        item, end = decoder.raw_decode(text[position:].lstrip())
        position += len(text[position:]) - len(text[position:].lstrip()) + end
        objects += item["items"] if item["kind"] == "List" else [item]
    return objects


def test_kubectl_reads_values_as_in_table() -> None:
    manifest = "---\n".join(object_with(number, text) for number, text in enumerate(VALUES))

    objects = read_by_kubectl(manifest)

    read = dict(zip(VALUES, (item.get("value") for item in objects), strict=True))
    assert read == VALUES


def test_kubectl_rejects_values_as_in_table() -> None:
    accepted = []
    for text in REJECTED:
        try:
            read_by_kubectl(object_with(0, text))
            accepted.append(text)
        except ClusterError:
            continue

    assert accepted == []


def test_apply_sends_dates_times_and_octal_numbers_as_kubectl(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: dated, annotations: {example.com/built: 2026-11-01}},"
        " data: {day: 2026-11-01, time: 22:30, mac: 52:54:10:44:49:56}}\n---\n"
        "{apiVersion: v1, kind: Pod, metadata: {name: moded}, spec: {containers: [{name: app, image: example.com/app}],"
        " volumes: [{name: settings, configMap: {name: dated, defaultMode: 0o644}}]}}\n"
    )

    result = task("k8scr_apply", check_mode=True, src=str(path))

    config_map, pod = (entry["object"] for entry in result["objects"])
    assert config_map["data"] == {"day": "2026-11-01", "time": "22:30", "mac": "52:54:10:44:49:56"}
    assert config_map["metadata"]["annotations"]["example.com/built"] == "2026-11-01"
    assert pod["spec"]["volumes"][0]["configMap"]["defaultMode"] == 0o644


def test_apply_names_document_that_the_api_server_rejects(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    valid = "{apiVersion: v1, kind: ConfigMap, metadata: {name: valid}}"
    path.write_text(f"{valid}\n---\n{valid.replace('valid', 'Not_Valid')}\n")

    result = task("k8scr_apply", check_mode=True, src=str(path))

    assert "ConfigMap default/Not_Valid" in result["msg"]
    assert f"(document 2 of {path} (line 3))" in result["msg"]
