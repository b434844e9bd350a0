# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparisons of bundles: many images of an upstream registry with latency, copied into a folder."""

from __future__ import annotations

from . import bundles
from .bundle_workloads import bundled_images
from .client import Client
from .comparison import Comparison
from .workloads import Factory, zeros

# Names of the clients, as keys in results.json.
BUNDLE = "k8scr_bundle"
BUNDLE_DELTA = "k8scr_bundle with since"
CURL_LAYERS = "curl, HTTP/1.1, 4 connections, layers alone"
SKOPEO_SYNC = "skopeo sync to dir"
REGCTL_COPY = "regctl image copy to one layout"
CRANE_PULL = "crane pull to one layout"

SIZES = (1024, 5120)
"""MiB of the images whose memory is compared."""
_HUNDRED = bundled_images(100, 5 * 1024)
_CLIENTS: dict[str, Client] = {
    BUNDLE: bundles.bundle,
    SKOPEO_SYNC: bundles.program(bundles.skopeo_sync),
    REGCTL_COPY: bundles.program(bundles.regctl_copy),
    CRANE_PULL: bundles.program(bundles.crane_pull),
}
# skopeo sync does not write into an existing folder.
_REPEATABLE = {name: client for name, client in _CLIENTS.items() if name != SKOPEO_SYNC}
_NOTE = """\
The upstream registry is a process of this machine with its storage in memory, behind a connection with a round-trip \
time of 20 ms. Requests are those for content at this registry. crane and regctl write layouts, skopeo sync one folder \
in its own format for each image, without shared layers."""


def _comparison(name: str, title: str, workload: Factory, clients: dict[str, Client], note: str = _NOTE) -> Comparison:
    return Comparison(name, title, workload, clients, initial=workload, keep=True, rounds=2, note=note, upstream=True)


BUNDLE_COMPARISONS = (
    _comparison(
        "bundle-100",
        "Bundle of 100 images, 5 GiB, half of them with shared layers",
        _HUNDRED,
        {CURL_LAYERS: bundles.curl, **_CLIENTS},
    ),
    _comparison(
        "bundle-nothing",
        "Bundle of 100 images that it has already",
        _HUNDRED,
        {name: bundles.again(client) for name, client in _REPEATABLE.items()},
    ),
    _comparison(
        "bundle-changed",
        "Bundle of 100 images of which one layer changed",
        _HUNDRED,
        {
            **{name: bundles.after_change(client) for name, client in _REPEATABLE.items()},
            BUNDLE_DELTA: bundles.delta,
        },
    ),
    *(
        _comparison(
            f"bundle-size-{size}",
            f"Bundle of one image, {size} MiB in 4 layers",
            zeros(size, 4),
            {BUNDLE: bundles.bundle},
            "",
        )
        for size in SIZES
    ),
)
