# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparisons: workloads, and the clients that are measured with each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import curl, modules, third_party
from .bundle_comparisons import BUNDLE_COMPARISONS
from .client import Client, with_empty_engine, with_latency
from .comparison import Comparison
from .third_party import forwarded_pull, forwarded_push
from .workloads import (
    Factory,
    changed_layer,
    loaded_into_engine,
    many_images,
    pulled_into_engine,
    random_image,
    real_files,
    zeros,
)

# Names of the clients, as keys in results.json. They do not change, so that runs can extend existing results.
PUSH = "k8scr_push"
PULL = "k8scr_pull"
PUSH_WITHOUT_ISAL = "k8scr_push without isal"
PUSH_WITH_PROGRESS = "k8scr_push with progress"
PUSH_IN_PLAYBOOK = "k8scr_push in a playbook"
PULL_IN_PLAYBOOK = "k8scr_pull in a playbook"
NO_OP = "a module that does nothing, in a playbook"
PYTHON = "Python alone"
ANSIBLE_LIBRARY = "Python and Ansible's library for modules"
IMPORTS = "Python and all that k8scr_push imports"
CURL = "curl, HTTP/1.1, 4 connections"
CURL_SYNC = "curl, HTTP/1.1, 4 connections, until all is on the disk"
CURL_ONE = "curl, HTTP/1.1, 1 connection"
CURL_HTTP2 = "curl, HTTP/2, 4 connections"
CURL_DIRECT = "curl straight to the Pod, 4 connections"
CRANE = "crane over port-forward"
REGCTL = "regctl over port-forward"
ORAS = "oras over port-forward"
SKOPEO = "skopeo over port-forward"
SKOPEO_RECOMPRESSED = "skopeo over port-forward, digests not kept"
PLUGIN = "the seed's method"
PLUGIN_CURRENT = "the seed's method, libraries and registry of today"

_LABELS = {
    NO_OP: "no-op module in a playbook",
    PYTHON: "Python",
    ANSIBLE_LIBRARY: "Python and AnsibleModule",
    IMPORTS: "Python and all imports of k8scr_push",
    CURL_SYNC: "curl, HTTP/1.1, 4 connections, with sync to disk",
    CURL_DIRECT: "curl directly to the Pod, 4 connections",
    SKOPEO_RECOMPRESSED: "skopeo over port-forward, recompressed",
    PLUGIN: "kubectl plugin",
    PLUGIN_CURRENT: "kubectl plugin, current libraries and registry",
}
"""Clients whose label in the report differs from their name."""

_CURL_PUSHES: dict[str, Client] = {
    CURL_DIRECT: curl.pushes(direct=True),
    CURL: curl.pushes(),
    CURL_ONE: curl.pushes(connections=1),
    CURL_HTTP2: curl.pushes(version="http2"),
}
_STARTS: dict[str, Client] = {
    PYTHON: modules.python("pass"),
    ANSIBLE_LIBRARY: modules.python("import ansible.module_utils.basic"),
    IMPORTS: modules.python(
        "import ansible.module_utils.basic, ansible_collections.k8scr.core.plugins.modules.k8scr_push"
    ),
    NO_OP: modules.no_op_in_playbook,
}
_CURL_PULLS: dict[str, Client] = {
    CURL_DIRECT: curl.pulls(direct=True),
    CURL: curl.pulls(),
    CURL_SYNC: curl.pulls(sync=True),
    CURL_ONE: curl.pulls(connections=1),
    CURL_HTTP2: curl.pulls(version="http2"),
}
_PUSHES: dict[str, Client] = {
    PUSH: modules.push(),
    PUSH_IN_PLAYBOOK: modules.push_in_playbook,
    CRANE: forwarded_push(third_party.crane_push),
    REGCTL: forwarded_push(third_party.regctl_push),
    ORAS: forwarded_push(third_party.oras_push),
    SKOPEO: forwarded_push(third_party.skopeo_push),
    PLUGIN: third_party.plugin_push("seed"),
    PLUGIN_CURRENT: third_party.plugin_push("seed-today"),
}
_PULLS: dict[str, Client] = {
    PULL: modules.pull,
    PULL_IN_PLAYBOOK: modules.pull_in_playbook,
    CRANE: forwarded_pull(third_party.crane_pull),
    REGCTL: forwarded_pull(third_party.regctl_pull),
    ORAS: forwarded_pull(third_party.oras_pull),
    SKOPEO: forwarded_pull(third_party.skopeo_pull),
    SKOPEO_RECOMPRESSED: forwarded_pull(third_party.skopeo_pull_recompressed),
    PLUGIN: third_party.plugin_pull("seed"),
    PLUGIN_CURRENT: third_party.plugin_pull("seed-today"),
}


def split_latency(name: str) -> tuple[str, str]:
    """Split a client's name into the client and the suffix of :func:`delayed`, which may be empty."""
    suffix = re.search(r"(, \d+ ms)?$", name)
    assert suffix is not None
    return name[: suffix.start()], suffix[0]


def label(name: str) -> str:
    """Return the label of a client in the report."""
    client, suffix = split_latency(name)
    return _LABELS.get(client, client) + suffix


def _some(clients: Mapping[str, Client], *names: str) -> dict[str, Client]:
    return {name: clients[name] for name in names}


def _pull(
    name: str,
    title: str,
    workload: Factory,
    clients: Mapping[str, Client],
    rounds: int | None = None,
    note: str = "",
) -> Comparison:
    return Comparison(name, title, workload, clients, initial=workload, keep=True, rounds=rounds, note=note)


_ONE_GIB = random_image(1024, 8)
_ONE_LAYER = random_image(1024, 1)
_FIVE_GIB = zeros(5 * 1024, 8)
_HUNDRED_IMAGES = many_images(100, 5)
_LARGE_ARCHIVE = real_files(1250)
_SMALL_ARCHIVE = real_files(400)
_SMALL_IMAGE = random_image(256, 8)
_ORIGINAL, _CHANGED = changed_layer(1000, 10)
_SELECTED_PUSHES = (PUSH, CRANE, SKOPEO, PLUGIN)
_SELECTED_PULLS = (PULL, CRANE, SKOPEO, PLUGIN)
_NO_PLUGIN = "Omitted: the kubectl plugin with its registry, which would keep three times the size in memory, 15 GiB."

_PUSH_COMPARISONS = (
    Comparison("push-1g", "Push of 1 GiB in 8 layers from an OCI layout", _ONE_GIB, {**_CURL_PUSHES, **_PUSHES}),
    Comparison(
        "push-1g-1",
        "Push of 1 GiB in 1 layer from an OCI layout",
        _ONE_LAYER,
        {**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, *_SELECTED_PUSHES)},
        rounds=2,
    ),
    Comparison(
        "push-5g",
        "Push of 5 GiB in 8 layers from an OCI layout",
        _FIVE_GIB,
        {**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, PUSH, CRANE, SKOPEO, PLUGIN_CURRENT)},
        rounds=1,
        note=_NO_PLUGIN,
    ),
    Comparison(
        "push-progress",
        "Push of 5 GiB in 8 layers, with and without progress",
        _FIVE_GIB,
        {**_some(_PUSHES, PUSH), PUSH_WITH_PROGRESS: modules.push(progress=True)},
        note="The module writes its progress to a file, as for its action plugin. Compare the CPU time.",
    ),
    Comparison(
        "push-100",
        "Push of 100 images of 5 MB that share layers",
        _HUNDRED_IMAGES,
        _some(_PUSHES, *_SELECTED_PUSHES),
        rounds=2,
    ),
    Comparison(
        "push-archive",
        "Push of a Docker archive of real files, 1.25 GB",
        _LARGE_ARCHIVE,
        {**_some(_PUSHES, PUSH), PUSH_WITHOUT_ISAL: modules.push(isal=False), **_some(_PUSHES, CRANE, SKOPEO, PLUGIN)},
        rounds=2,
    ),
    Comparison(
        "push-daemon",
        "Push of real files, 0.4 GB, from a Docker engine",
        loaded_into_engine(_SMALL_ARCHIVE),
        _some(_PUSHES, PUSH, SKOPEO, PLUGIN),
        rounds=2,
    ),
    Comparison(
        "push-changed",
        "Push of 1 GB in 10 layers, one of them changed",
        _CHANGED,
        _some(_PUSHES, PUSH, CRANE, REGCTL, ORAS, SKOPEO, PLUGIN),
        initial=_ORIGINAL,
        rounds=2,
    ),
)
_EXISTING_COMPARISONS = (
    Comparison(
        "nothing-1",
        "Push of an existing image of 1 GiB",
        _ONE_GIB,
        {**_STARTS, **_PUSHES},
        initial=_ONE_GIB,
        keep=True,
        note="""\
A task takes longer than the module without a playbook plus the no-op module, because of Ansible: in each run of a \
playbook, it reads, parses and packs every file that the module imports, and Python compiles the packed files in each \
task. Without a playbook, the files are already compiled.""",
    ),
    Comparison(
        "nothing-100",
        "Push of 100 existing images",
        _HUNDRED_IMAGES,
        _some(_PUSHES, PUSH, PUSH_IN_PLAYBOOK, CRANE, SKOPEO, PLUGIN),
        initial=_HUNDRED_IMAGES,
        keep=True,
    ),
)
_PULL_COMPARISONS = (
    _pull("pull-1g", "Pull of 1 GiB in 8 layers to an OCI layout", _ONE_GIB, {**_CURL_PULLS, **_PULLS}),
    _pull(
        "pull-1g-1",
        "Pull of 1 GiB in 1 layer to an OCI layout",
        _ONE_LAYER,
        {**_some(_CURL_PULLS, CURL), **_some(_PULLS, *_SELECTED_PULLS)},
        rounds=1,
    ),
    _pull(
        "pull-5g",
        "Pull of 5 GiB in 8 layers to an OCI layout",
        _FIVE_GIB,
        {**_some(_CURL_PULLS, CURL), **_some(_PULLS, PULL, CRANE, SKOPEO, PLUGIN_CURRENT)},
        rounds=1,
        note=_NO_PLUGIN,
    ),
    _pull(
        "pull-100",
        "Pull of 100 images of 5 MB that share layers, to layouts",
        _HUNDRED_IMAGES,
        _some(_PULLS, *_SELECTED_PULLS),
        rounds=1,
    ),
    _pull(
        "pull-archive", "Pull of 1.25 GB to a Docker archive", _LARGE_ARCHIVE, _some(_PULLS, *_SELECTED_PULLS), rounds=1
    ),
    Comparison(
        "pull-daemon",
        "Pull of 0.4 GB into a Docker engine",
        pulled_into_engine(_SMALL_ARCHIVE),
        {name: with_empty_engine(_PULLS[name]) for name in (PULL, SKOPEO, PLUGIN)},
        initial=_SMALL_ARCHIVE,
        keep=True,
        rounds=1,
    ),
)

ROUND_TRIPS = (0, 5, 20, 80)
"""Round-trip times in milliseconds. With 0, the proxy is used without a delay."""


def delayed(name: str, milliseconds: int) -> str:
    """Return the name of a client with this round-trip time."""
    return f"{name}, {milliseconds} ms"


def _delayed(clients: Mapping[str, Client], *round_trips: int) -> dict[str, Client]:
    return {
        delayed(name, milliseconds): with_latency(milliseconds, client)
        for milliseconds in round_trips
        for name, client in clients.items()
    }


_LATENCY_COMPARISONS = (
    Comparison(
        "push-latency",
        "Push of 256 MiB in 8 layers, by round-trip time",
        _SMALL_IMAGE,
        _delayed(
            {**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, PUSH, CRANE, PLUGIN, PLUGIN_CURRENT)}, *ROUND_TRIPS[:-1]
        ),
        rounds=2,
    ),
    Comparison(
        "push-far",
        "Push of 256 MiB in 8 layers, round-trip time 80 ms",
        _SMALL_IMAGE,
        _delayed({**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, PUSH, CRANE, PLUGIN, PLUGIN_CURRENT)}, ROUND_TRIPS[-1]),
        rounds=1,
    ),
    Comparison(
        "pull-latency",
        "Pull of 256 MiB in 8 layers, by round-trip time",
        _SMALL_IMAGE,
        _delayed({**_some(_CURL_PULLS, CURL), **_some(_PULLS, PULL, CRANE)}, *ROUND_TRIPS),
        initial=_SMALL_IMAGE,
        keep=True,
        rounds=1,
    ),
)


def _scaling(series: str, x: float, title: str, workload: Factory) -> tuple[Comparison, ...]:
    pushed = Comparison(
        f"push-{series}-{x:g}", f"Push of {title}", workload, {PUSH: modules.push()}, rounds=1, series=series, x=x
    )
    pulled = Comparison(
        f"pull-{series}-{x:g}",
        f"Pull of {title}",
        workload,
        {PULL: modules.pull},
        initial=workload,
        keep=True,
        rounds=1,
        series=series,
        x=x,
    )
    return pushed, pulled


_SCALING_COMPARISONS = tuple(
    comparison
    for group in (
        *(_scaling("size", x, f"{x} MiB in 4 layers", zeros(x, 4)) for x in (10, 100, 300, 1024, 3072, 10240)),
        *(_scaling("layers", x, f"256 MiB in {x} layers", zeros(256, x)) for x in (1, 5, 15, 30, 60, 120)),
        *(_scaling("images", x, f"{x} images of 100 KiB", zeros(0.1, 1, x)) for x in (1, 10, 100, 300, 1000)),
    )
    for comparison in group
)

COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        *_PUSH_COMPARISONS,
        *_EXISTING_COMPARISONS,
        *_PULL_COMPARISONS,
        *_LATENCY_COMPARISONS,
        *_SCALING_COMPARISONS,
        *BUNDLE_COMPARISONS,
    )
}
