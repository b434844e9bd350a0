# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter ``images_in``."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.k8scr.core.plugins.filter.images_in import FilterModule

images_in = FilterModule().filters()["images_in"]
POD: dict[str, Any] = {"spec": {"containers": [{"image": "nginx:1", "args": ["--agent=quay.io/team/agent:2"]}]}}
TEXT = "spec: {containers: [{image: 'nginx:1', args: ['--agent=quay.io/team/agent:2']}]}"


@pytest.mark.parametrize("manifests", [TEXT, POD, [POD, POD]])
def test_images_in_returns_full_names(manifests: Any) -> None:
    assert images_in(manifests) == ["docker.io/library/nginx:1"]


def test_images_in_returns_guesses_on_request() -> None:
    assert images_in(POD, guess=True) == ["docker.io/library/nginx:1", "quay.io/team/agent:2"]


def test_images_in_reads_extra_paths() -> None:
    assert images_in({"kind": "Database", "spec": {"ref": "db:1"}}, extra_paths={"Database": ["spec.ref"]}) == [
        "docker.io/library/db:1"
    ]


@pytest.mark.parametrize(
    ("manifests", "message"),
    [
        ("a: [", "the text is not YAML"),
        ("spec:\n  containers:\n  - image: '{{ image }}'\n", "line 3"),
        ({"spec": {1, 2}}, "JSON does not support"),
    ],
)
def test_images_in_fails_for_invalid_manifests(manifests: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        images_in(manifests)
