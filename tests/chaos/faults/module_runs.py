# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the module's process, and concurrent operations on the registry."""

from __future__ import annotations

import requests

from .. import inspection
from .base import Fault, FaultContext


class ModuleKilled(Fault):
    """Module killed and restarted"""

    def inject(self, context: FaultContext) -> None:
        context.run.kill()


class ConcurrentPush(Fault):
    """Concurrent push of the same images"""

    actions = ("push",)

    def inject(self, context: FaultContext) -> None:
        context.concurrent_runs.append(context.start("push"))


class ConcurrentPull(Fault):
    """Concurrent pull of the pushed tag"""

    actions = ("push",)

    def inject(self, context: FaultContext) -> None:
        context.concurrent_runs.append(context.start("pull"))


class ConcurrentPrune(Fault):
    """Concurrent prune with garbage collection"""

    actions = ("push",)
    # Garbage collection deletes uploaded blobs that no manifest references yet.
    expected_error = "blob unknown|manifest unknown|unknown to registry"

    def inject(self, context: FaultContext) -> None:
        testbed = context.testbed
        before = inspection.stored_blobs(testbed.registry.storage)
        if context.old:
            url = f"{testbed.registry.write_url}/v2/{context.repository}/manifests/{context.old}"
            try:
                response = requests.delete(url, timeout=60)
            except requests.ConnectionError:
                return
            if response.status_code not in (202, 404):
                raise RuntimeError(f"DELETE {url} failed: {response.status_code} {response.text}")
        testbed.collect_garbage()
        # Blobs that arrived during the garbage collection do not count.
        context.destroyed += sum(
            before[blob] for blob in before.keys() - inspection.stored_blobs(testbed.registry.storage).keys()
        )
