# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be said of a delivery: whether what the module reported is what is there, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import look
from .faults.fault import Fault
from .running import Run, Traffic
from .sources import Source
from .world import AnyRegistry

SHARE = 0.05
"""How much more than need be may be moved, beyond the pieces that were cut."""
SLACK = 4096
"""Bytes that this is of the smallest images."""
FETCHED_AGAIN = 1 << 20
"""Bytes below which what an earlier run has pulled is sooner fetched again than gone on with."""
_BEGAN_IN_A_FAULT = re.compile(
    "cannot connect|was cut|was lost|fell silent|cannot reach|there is no|answered 5|refuses the way|lacks|[Nn]o space"
    "|has no image for"
)
"""Why a run may fail that was begun while something was broken: what has not worked yet is not tried for long."""


@dataclass
class Outcome:
    """What is to be said of a delivery.

    Attributes:
        number: Which it was.
        faults: What went wrong: what struck, not what came too late to.
        succeeded: Whether it succeeded in spite of that.
        error: Why it did not.
        needed: Bytes of blobs that were to be moved.
        moved: Bytes of blobs that were, until it had succeeded.
        cut: As many of these as were in requests that were cut, or were destroyed afterwards.
        uploads: Uploads that are left open at the registry, which deletes them after a week.
        problems: What must not be.
        seconds: What it took.
    """

    number: int
    faults: list[str] = field(default_factory=list)
    succeeded: bool = False
    error: str = ""
    needed: int = 0
    moved: int = 0
    cut: int = 0
    uploads: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def claims(outcome: Outcome, run: Run, struck: Sequence[Fault], began_in_a_fault: bool = False) -> str:
    """Judge what a run said; its error comes back, which must name one of the faults that struck."""
    if run.hung:
        outcome.problems.append("it hangs")
    if run.complaints:
        outcome.problems.append(f"it wrote to standard error: {run.complaints[-2000:]}")
    if run.result is None:
        outcome.problems.append("it ended without a result")
        return "it ended without a result"
    if not run.result.get("failed"):
        return ""
    error = str(run.result.get("msg"))
    if "\n" in error or "Traceback" in error:
        outcome.problems.append(f"it failed with more than a line: {error}")
    named = [fault.named for fault in struck if fault.named]
    if not any(re.search(pattern, error) for pattern in named) and not (
        began_in_a_fault and _BEGAN_IN_A_FAULT.search(error)
    ):
        outcome.problems.append(f"its error names no fault: {error}")
    return error


def whereabouts(
    outcome: Outcome,
    registry: AnyRegistry,
    place: Path | None,
    names: Sequence[str],
    sources: Sequence[Source],
    old: str | None,
    delivered: bool = False,
) -> None:
    """Judge what is there: the images, whole, if they were delivered; else these, or what was there before.

    Args:
        registry: Where images were pushed to.
        place: Where they were pulled to instead.
        names: The images' repositories.
        sources: The images.
        old: The digest that the first tag had before.
        delivered: Whether it is a later run that succeeded.
    """
    for name, source, before in zip(names, sources, (old, None)):
        found = _find(registry, place, name)
        outcome.problems += [f"{name}: {problem}" for problem in found.problems]
        if found.digest is not None and found.is_the(source.identity):
            continue
        if delivered or outcome.succeeded:
            outcome.problems.append(f"{name} was reported as delivered, and {found.digest or 'nothing'} is there")
        elif found.digest not in (None, before):
            outcome.problems.append(f"{name} is {found.digest}, which nobody wanted")
    if place is None:
        outcome.problems += look.damaged_blobs(registry.storage)


def pulled_meanwhile(outcome: Outcome, place: Path, name: str, source: Source, old: str | None) -> None:
    """Judge what was pulled while it was pushed: the image or the one before it, whole."""
    found = look.in_layout(place, f"docker.io/{name}:1")
    outcome.problems += [f"pulled meanwhile: {problem}" for problem in found.problems]
    if not found.is_the(source.identity) and found.digest != old:
        outcome.problems.append(f"pulled meanwhile: {found.digest}, which nobody wanted")


def report(outcome: Outcome, result: dict[str, Any], old: str | None) -> None:
    """Judge the report of a run that nobody else had a part in."""
    if not result["changed"]:
        outcome.problems.append("it delivered something, and reported that nothing changed")
    if result["images"][0]["digest_before"] != old:
        outcome.problems.append(f"it reported {result['images'][0]['digest_before']} as what was there before")


def nothing_to_do(outcome: Outcome, run: Run) -> None:
    """Judge a run for which there was nothing to do."""
    if claims(outcome, run, []) == "" and (run.result or {}).get("changed"):
        outcome.problems.append("it reported a change where there was nothing to do")
    if run.traffic.sent or run.traffic.received:
        outcome.problems.append("it moved blobs where there was nothing to do")


def leftovers(outcome: Outcome, runs: Sequence[Run], storage: Path, disk: Path, connections: int, shared: bool) -> None:
    """Judge what is left: no process, no file of the module's, and no more open uploads than were broken off.

    Args:
        runs: All runs of the delivery.
        storage: The registry's.
        disk: The client's.
        connections: How many uploads a run has under way at most.
        shared: Whether another run had a part in it.
    """
    outcome.problems += [f"the process {name} is left" for run in runs for name in run.survivors()]
    # What a run has ended without hearing of it, or another run, is never asked for again: what is remembered of such
    # an upload expires after a day.
    unheard = shared or not all(run.succeeded for run in runs)
    hidden = [
        path for place in ("tmp", *([] if unheard else ["cache/k8scr/uploads"])) for path in (disk / place).glob("*")
    ]
    hidden += [path for place in ("pulled", "meanwhile") for path in (disk / place).rglob(".*")]
    hidden += disk.glob(".*")
    outcome.problems += [f"{path.relative_to(disk)} is left" for path in hidden]
    outcome.uploads = look.open_uploads(storage)
    broken_off = sum(run.traffic.failures + connections * (not run.succeeded) for run in runs)
    if outcome.uploads > broken_off:
        outcome.problems.append(f"{outcome.uploads} uploads are left open at the registry")


def cost(
    outcome: Outcome,
    runs: Sequence[Run],
    registry: AnyRegistry,
    place: Path | None,
    names: Sequence[str],
    before: Collection[str],
    destroyed: int,
) -> None:
    """Judge what was moved: what was needed, and beyond that no more than pieces that were cut or destroyed."""
    blobs: dict[str, int] = {}
    shared = 0
    for name in names:
        found = _find(registry, place, name).blobs
        shared += sum(size for digest, size in found.items() if digest in blobs)
        blobs.update(found)
    traffic = sum((run.traffic for run in runs), Traffic())
    outcome.needed = sum(size for digest, size in blobs.items() if digest not in before)
    outcome.moved = traffic.received if place else traffic.sent
    # What two images share is mounted within a run; a later one does not look for it in an image that is there.
    outcome.cut = traffic.cut + destroyed + (shared if len(runs) > 1 else 0)
    surplus = outcome.moved - outcome.needed - outcome.cut
    slack = FETCHED_AGAIN if place and len(runs) > 1 else SLACK
    if surplus > SHARE * outcome.needed + slack:
        outcome.problems.append(f"{surplus} bytes too many were moved, of {outcome.needed} that were needed")


def _find(registry: AnyRegistry, place: Path | None, name: str) -> look.Found:
    if place is None:
        return look.in_registry(registry.address, name, "1")
    return look.in_layout(place, f"docker.io/{name}:1")
