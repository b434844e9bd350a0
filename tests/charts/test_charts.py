# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of real charts and manifests: those of the Pods that the cluster creates are found or guessed."""

from __future__ import annotations

import pytest

from . import catalogue, installation, sources
from .conftest import Find


@pytest.mark.parametrize("wanted", catalogue.MANY, ids=lambda wanted: wanted.name)
def test_images_of_pods_are_found_or_guessed(wanted: catalogue.Input, find: Find) -> None:
    path = sources.path_of(wanted)
    result = find(**installation.chart_options(wanted, path))
    assert not result.get("failed"), result["msg"]
    names = {image["name"] for image in (*result["images"], *result["guesses"])}
    if any("Istio replaces" in each["reason"] for each in result["left_out"]):
        # The webhook of Istio, which replaces this placeholder, is not installed.
        names.add("docker.io/library/auto:latest")
    assert set(wanted.started) - names == set()

    with installation.installed(wanted, path) as images:
        assert images
        assert images - names == set()
