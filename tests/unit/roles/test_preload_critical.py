# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images the role preload exports from which node, and imports on which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import ROLES

Evaluate = Callable[..., list[Any]]
DIGESTS = {"complete": "sha256:1", "incomplete": "sha256:2", "missing": ""}
NEEDED = [{"name": name, "platforms": ["linux/amd64"], "workloads": []} for name in ("registry", "proxy")]


def found(**states: str) -> dict[str, Any]:
    """Return the result of k8scr_node_export for images with these states."""
    images = [
        {
            "image": {"name": name, "digest": DIGESTS[state], "file": f"{name}.tar"},
            "state": state,
            "reason": f"{name} is {state}",
        }
        for name, state in states.items()
    ]
    return {"images": images}


@pytest.fixture
def evaluate_on_nodes(run_plays: Callable[..., Any]) -> Evaluate:
    """Returns the value of a variable of the role on each node, for the result of k8scr_node_export there."""

    def values(variable: str, *results: dict[str, Any], **variables: Any) -> list[Any]:
        facts = {
            "preload_leader": "node-0",
            "preload_needed": {"images": NEEDED},
            "preload_node": {"sandbox": {"name": "pause:{{ inventory_hostname }}", "platforms": ["linux/amd64"]}},
            "preload_found": "{{ results[inventory_hostname] }}",
        }
        tasks = [
            {"ansible.builtin.set_fact": facts},
            {"ansible.builtin.debug": {"msg": f"{{{{ [inventory_hostname, {variable}] | to_json }}}}"}},
        ]
        files = [str(ROLES / "preload" / folder / "main.yml") for folder in ("defaults", "vars")]
        named = {f"node-{number}": result for number, result in enumerate(results)}
        variables = {"preload_read": {"images": []}, "preload_node_critical": True, "results": named, **variables}
        done = run_plays({"vars_files": files, "tasks": tasks}, hosts=len(results), **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        printed = dict(json.loads(json.loads(text)) for text in re.findall(r'"msg": (".*")', done.stdout))
        return [printed[name] for name in named]

    return values


def test_first_node_with_image_exports_it_if_another_node_misses_it(evaluate_on_nodes: Evaluate) -> None:
    exports = evaluate_on_nodes(
        "preload_exports",
        found(a="missing", b="complete", c="complete"),
        found(a="complete", b="complete", c="missing"),
        found(a="complete", b="complete", c="complete"),
    )

    assert exports == [["c"], ["a"], []]


def test_node_with_discarded_layers_exports_nothing(evaluate_on_nodes: Evaluate) -> None:
    assert evaluate_on_nodes("preload_exports", found(a="incomplete"), found(a="complete"), found(a="missing")) == [
        [],
        ["a"],
        [],
    ]


def test_node_imports_missing_images_and_pins_its_own(evaluate_on_nodes: Evaluate) -> None:
    images = evaluate_on_nodes("preload_images", found(a="complete", b="missing"), found(a="incomplete", b="complete"))

    assert [[(image["name"], image["digest"]) for image in each] for each in images] == [
        [("a", DIGESTS["complete"]), ("b", DIGESTS["complete"])],
        [("a", DIGESTS["incomplete"]), ("b", DIGESTS["complete"])],
    ]


def test_images_of_other_platforms_are_not_imported(evaluate_on_nodes: Evaluate) -> None:
    images = evaluate_on_nodes("preload_images", found(arm="complete"), found(amd="missing"), found(amd="complete"))

    assert [[image["name"] for image in each] for each in images] == [["arm"], ["amd"], ["amd"]]


def test_reason_prefers_discarded_layers_to_missing_image(evaluate_on_nodes: Evaluate) -> None:
    reasons = evaluate_on_nodes(
        "preload_unavailable", found(a="missing", b="missing", c="missing"), found(a="incomplete", b="complete")
    )

    assert reasons == [["a is incomplete", "c is missing"]] * 2


def test_incomplete_image_that_all_nodes_have_is_available(evaluate_on_nodes: Evaluate) -> None:
    assert evaluate_on_nodes("preload_unavailable", found(a="incomplete"), found(a="complete")) == [[], []]


def test_failed_node_is_ignored(evaluate_on_nodes: Evaluate) -> None:
    assert evaluate_on_nodes("preload_exported", found(a="complete"), {"failed": True, "images": []}) == [[], []]


def test_nodes_look_for_images_of_archives_in_archives_only(evaluate_on_nodes: Evaluate) -> None:
    archive = {
        "images": [{"name": "registry", "digest": "sha256:4", "file": "registry.tar", "archive": "/registry.tar"}]
    }

    wanted = evaluate_on_nodes("preload_wanted", found(), found(), preload_read=archive)

    assert [[image["name"] for image in each] for each in wanted] == [["proxy", "pause:node-0", "pause:node-1"]] * 2


def test_nodes_of_other_cluster_are_ignored(evaluate_on_nodes: Evaluate) -> None:
    nodes = found(a="missing"), found(a="complete")

    assert evaluate_on_nodes("preload_exported", *nodes, preload_node_critical_hosts=["node-0"])[0] == []


def test_only_listed_images_are_removed(evaluate_on_nodes: Evaluate) -> None:
    assert evaluate_on_nodes("preload_images", found(a="complete"), preload_state="absent") == [[]]
