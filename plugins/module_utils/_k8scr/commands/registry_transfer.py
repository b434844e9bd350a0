# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A transfer from or to the cluster's registry, with its progress and its retries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..registry.cluster import ClusterRegistry, RegistrySettings, connect_registry
from ..transfer.listener import Listener, RetryLog
from ..transfer.progress import Progress
from ..transfer.progress_listener import shown
from ..transfer.result_lines import Verb


@contextmanager
def registry_transfer(
    settings: RegistrySettings, writes: bool, progress: Progress, verb: Verb
) -> Iterator[tuple[ClusterRegistry, Listener, RetryLog]]:
    """Connect to the registry, and yield it with the listener for the transfer and the log of the retries.

    An error that ends the block has the retries among its values.

    Args:
        writes: Whether the transfer writes to the registry.
        verb: What the module does with layers.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
    """
    log = RetryLog()
    with (
        log.in_errors(),
        shown(progress, verb, log) as listener,
        connect_registry(settings, writes, on_retry=listener.retried, on_recovery=listener.recovered) as registry,
    ):
        yield registry, listener, log
