# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the run itself, and what others do meanwhile."""

from __future__ import annotations

import requests

from .. import look
from .fault import Fault, Scene


class Killed(Fault):
    """Our process killed, and run again"""

    def strike(self, scene: Scene) -> None:
        scene.run.kill()


class Twin(Fault):
    """The same images pushed by two at once"""

    actions = ("push",)

    def strike(self, scene: Scene) -> None:
        scene.others.append(scene.start("push"))


class PulledMeanwhile(Fault):
    """A push and a pull of the same tag at once"""

    actions = ("push",)

    def strike(self, scene: Scene) -> None:
        scene.others.append(scene.start("pull"))


class PrunedMeanwhile(Fault):
    """A push and a prune with garbage collection at once"""

    actions = ("push",)
    # What was uploaded is no image's yet, so it is garbage to the registry.
    named = "blob unknown|manifest unknown|unknown to registry"

    def strike(self, scene: Scene) -> None:
        world = scene.world
        before = look.stored_blobs(world.registry.storage)
        if scene.old:
            url = f"{world.registry.write_url}/v2/{scene.repository}/manifests/{scene.old}"
            try:
                answer = requests.delete(url, timeout=5)
            except requests.ConnectionError:
                return
            if answer.status_code not in (202, 404):
                raise RuntimeError(f"{url} cannot be deleted: {answer.status_code} {answer.text}")
        world.collect_garbage()
        # Others may have arrived meanwhile.
        scene.destroyed += sum(
            before[blob] for blob in before.keys() - look.stored_blobs(world.registry.storage).keys()
        )
