# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection of images: how each was found, and limits."""

from __future__ import annotations

from itertools import permutations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery import collection
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.collection import Discovery, How, Origin
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError


@pytest.mark.parametrize("ways", [*permutations((How.ANNOTATION, How.CLUSTER, How.MANIFEST))])
def test_image_has_first_way_in_which_it_was_found(ways: tuple[How, ...]) -> None:
    discovery = Discovery()

    for how in ways:
        discovery.add("nginx:1", Origin(path=how.value), how)

    assert [image.how for image in discovery.found] == [How.MANIFEST]


def test_image_has_each_origin_once() -> None:
    discovery = Discovery()

    for path in "aba":
        discovery.add("nginx:1", Origin(path=path), How.MANIFEST)

    (image,) = discovery.found
    assert ([origin.path for origin in image.origins], image.count) == (["a", "b"], 2)


def test_origins_of_all_names_are_bounded_together_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_MOST_CHARACTERS", 12)
    discovery = Discovery()

    for name in ("a:1", "b:1"):
        for path in ("one", "two"):
            discovery.add(name, Origin(file="app", path=path), How.MANIFEST)
        discovery.add_guess(f"{name}-guess", Origin(file="app", path="three"))

    kept = [(str(image.name), len(image.origins), image.count) for image in (*discovery.found, *discovery.guesses)]
    assert kept == [
        ("docker.io/library/a:1", 2, 2),
        ("docker.io/library/b:1", 0, 2),
        ("docker.io/library/a:1-guess", 0, 1),
        ("docker.io/library/b:1-guess", 0, 1),
    ]


def test_number_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "MOST_IMAGES", 2)
    discovery = Discovery()
    discovery.add("a:1", Origin(file="app.yml"), How.MANIFEST)
    discovery.add("a:2", Origin(file="app.yml"), How.MANIFEST)

    with pytest.raises(InputError, match=r"app\.yml has more than 2 names of images"):
        discovery.add("a:3", Origin(file="app.yml"), How.MANIFEST)


def test_origin_is_shown_with_object_file_and_chart() -> None:
    origin = Origin("app/templates/a.yaml", 1, "./app", "Pod", "team", "web", "spec.x")

    assert str(origin) == "spec.x of Pod team/web in app/templates/a.yaml of the chart ./app"
    assert str(Origin(chart="./app", path="a.b")) == "a.b in the chart ./app"
