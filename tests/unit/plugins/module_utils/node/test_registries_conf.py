# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils.node.registries_conf import drop_in

MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True)
MAIN = """\
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "old.example.com"

[[registry]]
prefix = "quay.io"
location = "quay.example.com"
insecure = true
[[registry.mirror]]
location = "first.example.com"
[[registry.mirror]]
location = "second.example.com"
[aliases]
"a" = "b"
"""


def _registries(text: str) -> list[dict[str, Any]]:
    registries: list[dict[str, Any]] = tomllib.loads(text)["registry"]
    return registries


def test_the_mirror_is_asked_first_and_the_upstream_afterwards() -> None:
    assert _registries(drop_in(["docker.io"], MIRROR, {})) == [
        {
            "prefix": "docker.io",
            "location": "docker.io",
            "mirror": [{"location": "10.0.0.1:5001", "insecure": True}],
        }
    ]


def test_what_administrators_wrote_about_the_registry_is_kept() -> None:
    (quay,) = _registries(drop_in(["quay.io"], MIRROR, {"registries.conf": MAIN}))
    assert quay["location"] == "quay.example.com"
    assert quay["insecure"] is True
    locations = [mirror["location"] for mirror in quay["mirror"]]
    assert locations == ["10.0.0.1:5001", "first.example.com", "second.example.com"]


def test_the_last_file_about_a_registry_is_the_one_that_counts() -> None:
    later = '[[registry]]\nprefix = "docker.io"\nlocation = "later.example.com"\n'
    (docker,) = _registries(drop_in(["docker.io"], MIRROR, {"registries.conf": MAIN, "50.conf": later}))
    assert docker["location"] == "later.example.com"
    assert len(docker["mirror"]) == 1


def test_an_upstream_that_is_shut_off_is_nowhere_but_at_the_mirror() -> None:
    alone = Mirror("https", "images.example.com", qualify=True, fallback=False)
    assert _registries(drop_in(["quay.io"], alone, {})) == [
        {"prefix": "quay.io", "location": "images.example.com/quay.io"}
    ]


def test_all_registries_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="cannot name all registries"):
        drop_in(["*"], MIRROR, {})


@pytest.mark.parametrize("setting", ["blocked", "mirror-by-digest-only"])
def test_settings_that_would_make_the_mirror_useless_are_refused(setting: str) -> None:
    text = f'[[registry]]\nlocation = "docker.io"\n{setting} = true\n'
    with pytest.raises(InputError, match=f"a.conf has {setting} = true"):
        drop_in(["docker.io"], MIRROR, {"a.conf": text})
