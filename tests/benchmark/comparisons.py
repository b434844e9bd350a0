# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is compared with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import clients, curl, ours
from .clients import forwarded_pull, forwarded_push
from .way import Way, at_a_distance, into_an_empty_engine
from .works import Make, changed_layer, for_an_engine, in_an_engine, many_images, random_image, real_files, zeros

# The ways by name, as tables, plots and bars say them.
PUSH = "k8scr_push"
PULL = "k8scr_pull"
PUSH_WITHOUT_ISAL = "k8scr_push without isal"
PUSH_PLAYED = "k8scr_push in a playbook"
PULL_PLAYED = "k8scr_pull in a playbook"
NOTHING = "a module that does nothing, in a playbook"
PYTHON = "Python alone"
LIBRARY = "Python and Ansible's library for modules"
IMPORTED = "Python and all that k8scr_push imports"
CURL = "curl, HTTP/1.1, 4 connections"
CURL_SYNCED = "curl, HTTP/1.1, 4 connections, until all is on the disk"
CURL_ONE = "curl, HTTP/1.1, 1 connection"
CURL_HTTP2 = "curl, HTTP/2, 4 connections"
CURL_STRAIGHT = "curl straight to the Pod, 4 connections"
CRANE = "crane over port-forward"
REGCTL = "regctl over port-forward"
ORAS = "oras over port-forward"
SKOPEO = "skopeo over port-forward"
SKOPEO_RECOMPRESSED = "skopeo over port-forward, digests not kept"
SEED = "the seed's method"
SEED_TODAY = "the seed's method, libraries and registry of today"

_CURL_PUSHES: dict[str, Way] = {
    CURL_STRAIGHT: curl.pushes(straight=True),
    CURL: curl.pushes(),
    CURL_ONE: curl.pushes(connections=1),
    CURL_HTTP2: curl.pushes(version="http2"),
}
_STARTS: dict[str, Way] = {
    PYTHON: ours.importing("pass"),
    LIBRARY: ours.importing("import ansible.module_utils.basic"),
    IMPORTED: ours.importing(
        "import ansible.module_utils.basic, ansible_collections.k8scr.core.plugins.modules.k8scr_push"
    ),
    NOTHING: ours.nothing_in_a_playbook,
}
_CURL_PULLS: dict[str, Way] = {
    CURL_STRAIGHT: curl.pulls(straight=True),
    CURL: curl.pulls(),
    CURL_SYNCED: curl.pulls(synced=True),
    CURL_ONE: curl.pulls(connections=1),
    CURL_HTTP2: curl.pulls(version="http2"),
}
_PUSHES: dict[str, Way] = {
    PUSH: ours.push(),
    PUSH_PLAYED: ours.push_in_a_playbook,
    CRANE: forwarded_push(clients.crane_push),
    REGCTL: forwarded_push(clients.regctl_push),
    ORAS: forwarded_push(clients.oras_push),
    SKOPEO: forwarded_push(clients.skopeo_push),
    SEED: clients.seed_push("seed"),
    SEED_TODAY: clients.seed_push("seed-today"),
}
_PULLS: dict[str, Way] = {
    PULL: ours.pull,
    PULL_PLAYED: ours.pull_in_a_playbook,
    CRANE: forwarded_pull(clients.crane_pull),
    REGCTL: forwarded_pull(clients.regctl_pull),
    ORAS: forwarded_pull(clients.oras_pull),
    SKOPEO: forwarded_pull(clients.skopeo_pull),
    SKOPEO_RECOMPRESSED: forwarded_pull(clients.skopeo_pull_as_it_comes),
    SEED: clients.seed_pull("seed"),
    SEED_TODAY: clients.seed_pull("seed-today"),
}


@dataclass(frozen=True)
class Comparison:
    """One work, and the ways that are measured with it in turn.

    Attributes:
        name: What the command line calls it.
        title: What the report calls it.
        work: What is delivered.
        ways: How.
        before: What the registry has under the same names before.
        kept: Whether what it has is not changed by what is measured, so that one time is enough.
        rounds: How many at most, where each takes long.
        series: Where it is one point of a plot: which.
        x: And where on it.
        note: What a reader is to know of the figures.
    """

    name: str
    title: str
    work: Make
    ways: Mapping[str, Way]
    before: Make | None = None
    kept: bool = False
    rounds: int | None = None
    series: str = ""
    x: float = 0
    note: str = ""


def _some(ways: Mapping[str, Way], *names: str) -> dict[str, Way]:
    return {name: ways[name] for name in names}


def _pull(
    name: str, title: str, work: Make, ways: Mapping[str, Way], rounds: int | None = None, note: str = ""
) -> Comparison:
    return Comparison(name, title, work, ways, before=work, kept=True, rounds=rounds, note=note)


_GIBIBYTE = random_image(1024, 8)
_ONE_LAYER = random_image(1024, 1)
_FIVE = zeros(5 * 1024, 8)
_HUNDRED = many_images(100, 5)
_REAL = real_files(1250)
_SMALLER = real_files(400)
_DISTANT = random_image(256, 8)
_BEFORE, _AFTER = changed_layer(1000, 10)
_FEW = (PUSH, CRANE, SKOPEO, SEED)
_FEW_PULLS = (PULL, CRANE, SKOPEO, SEED)
_NOT_THE_SEEDS = "The seed's registry would have three times the size in memory: 15 GiB."

_PUSHED = (
    Comparison("push-1g", "Push of 1 GiB in 8 layers from an OCI layout", _GIBIBYTE, {**_CURL_PUSHES, **_PUSHES}),
    Comparison(
        "push-1g-1",
        "Push of 1 GiB in 1 layer from an OCI layout",
        _ONE_LAYER,
        {**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, *_FEW)},
        rounds=2,
    ),
    Comparison(
        "push-5g",
        "Push of 5 GiB in 8 layers from an OCI layout",
        _FIVE,
        {**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, PUSH, CRANE, SKOPEO, SEED_TODAY)},
        rounds=1,
        note=_NOT_THE_SEEDS,
    ),
    Comparison("push-100", "Push of 100 images of 5 MB that share layers", _HUNDRED, _some(_PUSHES, *_FEW), rounds=2),
    Comparison(
        "push-archive",
        "Push of a Docker archive of real files, 1.25 GB",
        _REAL,
        {**_some(_PUSHES, PUSH), PUSH_WITHOUT_ISAL: ours.push(isal=False), **_some(_PUSHES, CRANE, SKOPEO, SEED)},
        rounds=2,
    ),
    Comparison(
        "push-daemon",
        "Push of real files, 0.4 GB, out of Docker's engine",
        in_an_engine(_SMALLER),
        _some(_PUSHES, PUSH, SKOPEO, SEED),
        rounds=2,
    ),
    Comparison(
        "push-changed",
        "Push of 1 GB in 10 layers of which one has changed",
        _AFTER,
        _some(_PUSHES, PUSH, CRANE, REGCTL, ORAS, SKOPEO, SEED),
        before=_BEFORE,
        rounds=2,
    ),
)
_REPEATED = (
    Comparison(
        "nothing-1",
        "Push of 1 GiB that is there",
        _GIBIBYTE,
        {**_STARTS, **_PUSHES},
        before=_GIBIBYTE,
        kept=True,
        note="""\
What a task takes beyond the same module alone and beyond a module that does nothing is Ansible's: it reads, parses \
and packs every file that the module imports, in each run of a playbook, and Python compiles the packed files in each \
task, where a module alone has its files compiled already.""",
    ),
    Comparison(
        "nothing-100",
        "Push of 100 images that are there",
        _HUNDRED,
        _some(_PUSHES, PUSH, PUSH_PLAYED, CRANE, SKOPEO, SEED),
        before=_HUNDRED,
        kept=True,
    ),
)
_PULLED = (
    _pull("pull-1g", "Pull of 1 GiB in 8 layers to an OCI layout", _GIBIBYTE, {**_CURL_PULLS, **_PULLS}),
    _pull(
        "pull-1g-1",
        "Pull of 1 GiB in 1 layer to an OCI layout",
        _ONE_LAYER,
        {**_some(_CURL_PULLS, CURL), **_some(_PULLS, *_FEW_PULLS)},
        rounds=1,
    ),
    _pull(
        "pull-5g",
        "Pull of 5 GiB in 8 layers to an OCI layout",
        _FIVE,
        {**_some(_CURL_PULLS, CURL), **_some(_PULLS, PULL, CRANE, SKOPEO, SEED_TODAY)},
        rounds=1,
        note=_NOT_THE_SEEDS,
    ),
    _pull(
        "pull-100",
        "Pull of 100 images of 5 MB that share layers, to layouts",
        _HUNDRED,
        _some(_PULLS, *_FEW_PULLS),
        rounds=1,
    ),
    _pull("pull-archive", "Pull of 1.25 GB to a Docker archive", _REAL, _some(_PULLS, *_FEW_PULLS), rounds=1),
    Comparison(
        "pull-daemon",
        "Pull of 0.4 GB into Docker's engine",
        for_an_engine(_SMALLER),
        {name: into_an_empty_engine(_PULLS[name]) for name in (PULL, SKOPEO, SEED)},
        before=_SMALLER,
        kept=True,
        rounds=1,
    ),
)

DISTANCES = (0, 5, 20, 80)
"""Milliseconds of a round trip; at 0 the line is there, and does not tarry."""


def distant(name: str, milliseconds: int) -> str:
    """What a way is called at a distance."""
    return f"{name}, {milliseconds} ms"


def _distant(ways: Mapping[str, Way], *distances: int) -> dict[str, Way]:
    return {
        distant(name, milliseconds): at_a_distance(milliseconds, way)
        for milliseconds in distances
        for name, way in ways.items()
    }


_LATENCY = (
    Comparison(
        "push-latency",
        "Push of 256 MiB in 8 layers, by milliseconds of round trip",
        _DISTANT,
        _distant({**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, PUSH, CRANE, SEED, SEED_TODAY)}, *DISTANCES[:-1]),
        rounds=2,
    ),
    Comparison(
        "push-far",
        "The same at 80 milliseconds",
        _DISTANT,
        _distant({**_some(_CURL_PUSHES, CURL), **_some(_PUSHES, PUSH, CRANE, SEED, SEED_TODAY)}, DISTANCES[-1]),
        rounds=1,
    ),
    Comparison(
        "pull-latency",
        "Pull of 256 MiB in 8 layers, by milliseconds of round trip",
        _DISTANT,
        _distant({**_some(_CURL_PULLS, CURL), **_some(_PULLS, PULL, CRANE)}, *DISTANCES),
        before=_DISTANT,
        kept=True,
        rounds=1,
    ),
)


def _grown(series: str, x: float, title: str, work: Make) -> tuple[Comparison, ...]:
    pushed = Comparison(
        f"push-{series}-{x:g}", f"Push of {title}", work, {PUSH: ours.push()}, rounds=1, series=series, x=x
    )
    pulled = Comparison(
        f"pull-{series}-{x:g}",
        f"Pull of {title}",
        work,
        {PULL: ours.pull},
        before=work,
        kept=True,
        rounds=1,
        series=series,
        x=x,
    )
    return pushed, pulled


_GROWTH = tuple(
    comparison
    for grown in (
        *(_grown("size", x, f"{x} MiB in 4 layers", zeros(x, 4)) for x in (10, 100, 300, 1024, 3072, 10240)),
        *(_grown("layers", x, f"256 MiB in {x} layers", zeros(256, x)) for x in (1, 5, 15, 30, 60, 120)),
        *(_grown("images", x, f"{x} images of 100 KiB", zeros(0.1, 1, x)) for x in (1, 10, 100, 300, 1000)),
    )
    for comparison in grown
)

COMPARISONS = {comparison.name: comparison for comparison in (*_PUSHED, *_REPEATED, *_PULLED, *_LATENCY, *_GROWTH)}
