# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of a delivery: result, images, left-over state and transferred bytes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import inspection
from .faults.base import Fault
from .module_process import Run, Traffic
from .sources import Source
from .testbed import AnyRegistry

SURPLUS_RATIO = 0.05
"""Allowed surplus of transferred bytes, relative to the required ones; lost bytes do not count."""
MIN_SURPLUS = 4096
"""Allowed surplus in bytes for small images."""
MIN_RESUMED = 1 << 20
"""A pull does not resume blobs below this number of bytes; it downloads them again."""
_FAULT_AT_START = re.compile(
    "cannot connect|was interrupted|timed out|cannot reach|there is no|responded with 5|rejects the request|"
    "does not have|has no image for|"
    "[Nn]o space"
)
"""Expected errors of a run that starts during a fault: until its first success, a run makes few attempts."""


@dataclass
class FaultOutcome:
    """Outcome of a delivery or prune with faults.

    Attributes:
        number: Number of the delivery or prune.
        faults: Descriptions of the injected faults.
        succeeded: Whether the module succeeded.
        error: The module's error.
        uploads: Open upload sessions in the registry, which deletes them after a week.
        problems: Failed checks, one line each.
        seconds: Duration in seconds.
    """

    number: int
    faults: list[str] = field(default_factory=list)
    succeeded: bool = False
    error: str = ""
    uploads: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Outcome(FaultOutcome):
    """Outcome of a delivery.

    Attributes:
        required: Bytes of blobs that had to be transferred.
        transferred: Bytes of blobs that were transferred until the first success.
        lost: Transferred bytes that were lost: in interrupted requests, or destroyed later.
    """

    required: int = 0
    transferred: int = 0
    lost: int = 0


def check_result(outcome: FaultOutcome, run: Run, injected: Sequence[Fault], fault_at_start: bool = False) -> str:
    """Check that a run succeeded or that its error names an injected fault, and return the error."""
    if run.hung:
        outcome.problems.append("the module hung")
    if run.stderr:
        outcome.problems.append(f"the module wrote to stderr: {run.stderr[-2000:]}")
    if run.result is None:
        outcome.problems.append("the module ended without a result")
        return "the module ended without a result"
    if not run.result.get("failed"):
        return ""
    error = str(run.result.get("msg"))
    failed = [image for image in run.result.get("images", ()) if "error" in image]
    steps = run.result.get("errors", ())
    # A reason that images share has a line, and so has an advice that several reasons or images share.
    most = 1 + len(failed) + len(failed) // 2 * 2 + len(steps) + len(steps) // 2
    if len(error.splitlines()) > most or "Traceback" in error:
        outcome.problems.append(f"the error has more than one line for each failed image or step: {error}")
    patterns = [fault.expected_error for fault in injected if fault.expected_error]
    if not any(re.search(pattern, error) for pattern in patterns) and not (
        fault_at_start and _FAULT_AT_START.search(error)
    ):
        outcome.problems.append(f"the error names no injected fault: {error}")
    return error


def check_images(
    outcome: Outcome,
    registry: AnyRegistry,
    destination: Path | None,
    names: Sequence[str],
    sources: Sequence[Source],
    old: str | None,
    delivered: bool = False,
) -> None:
    """Check that the destination has the complete images or, after a failure, possibly the previous ones.

    Args:
        outcome: The outcome of the delivery.
        registry: The registry.
        destination: The destination of a pull; None for a push.
        names: Repositories of the images.
        sources: Sources of the images.
        old: Previous digest of the first image's tag.
        delivered: Whether a later run succeeded.
    """
    for name, source, before in zip(names, sources, (old, None)):
        found = _read_image(registry, destination, name)
        outcome.problems += [f"{name}: {problem}" for problem in found.problems]
        if found.digest is not None and found.matches(source.identity):
            continue
        if delivered or outcome.succeeded:
            outcome.problems.append(
                f"{name}: the module reported success, but the destination has {found.digest or 'no image'}"
            )
        elif found.digest not in (None, before):
            outcome.problems.append(f"{name}: unexpected digest {found.digest}")
    if destination is None:
        outcome.problems += inspection.damaged_blobs(registry.storage)


def check_concurrent_pull(outcome: Outcome, layout: Path, name: str, source: Source, old: str | None) -> None:
    """Check that a pull during the push got the complete image, either the new or the previous one."""
    found = inspection.in_layout(layout, f"docker.io/{name}:1")
    outcome.problems += [f"concurrent pull: {problem}" for problem in found.problems]
    if not found.matches(source.identity) and found.digest != old:
        outcome.problems.append(f"concurrent pull: unexpected digest {found.digest}")


def check_returned_values(outcome: Outcome, result: dict[str, Any], old: str | None) -> None:
    """Check the values that a successful run without concurrent runs returned."""
    if not result["changed"]:
        outcome.problems.append("the module transferred images, but returned changed=false")
    if result["images"][0]["digest_before"] != old:
        outcome.problems.append(f"the module returned digest_before={result['images'][0]['digest_before']}, not {old}")


def check_idempotence(outcome: Outcome, run: Run) -> None:
    """Check that a run after a successful one changes and transfers nothing."""
    if check_result(outcome, run, []) == "" and (run.result or {}).get("changed"):
        outcome.problems.append("the repeated run returned changed=true")
    if run.traffic.sent or run.traffic.received:
        outcome.problems.append("the repeated run transferred blobs")


def check_leftovers(
    outcome: Outcome, runs: Sequence[Run], storage: Path, disk: Path, connections: int, concurrent: bool
) -> None:
    """Check that no process or temporary file is left, and only uploads of interrupted requests are open.

    Args:
        outcome: The outcome of the delivery.
        runs: All runs of the delivery.
        storage: Storage of the registry.
        disk: Disk of the client.
        connections: Maximum number of parallel uploads of a run.
        concurrent: Whether another run used the registry.
    """
    outcome.problems += [f"process {name} is still running" for run in runs for name in run.remaining_processes()]
    # The saved state of an upload stays if its last response was lost or if another run finished it. Later runs do not
    # need the upload, so the state expires after a week.
    may_keep_state = concurrent or not all(run.succeeded for run in runs)
    folders = ("tmp", *([] if may_keep_state else ["cache/k8scr/uploads"]))
    files = [path for folder in folders for path in (disk / folder).glob("*")]
    files += [path for folder in ("pulled", "concurrent-pull") for path in (disk / folder).rglob(".*")]
    files += disk.glob(".*")
    outcome.problems += [f"{path.relative_to(disk)} was not deleted" for path in files]
    outcome.uploads = inspection.open_uploads(storage)
    interrupted = sum(run.traffic.failures + connections * (not run.succeeded) for run in runs)
    if outcome.uploads > interrupted:
        outcome.problems.append(f"{outcome.uploads} upload sessions are still open in the registry")


def check_traffic(
    outcome: Outcome,
    runs: Sequence[Run],
    registry: AnyRegistry,
    destination: Path | None,
    names: Sequence[str],
    existing: Collection[str],
    lost: int,
) -> None:
    """Check that the runs transferred no more than the required and the lost bytes."""
    blobs: dict[str, int] = {}
    shared = 0
    for name in names:
        found = _read_image(registry, destination, name).blobs
        shared += sum(size for digest, size in found.items() if digest in blobs)
        blobs.update(found)
    traffic = sum((run.traffic for run in runs), Traffic())
    outcome.required = sum(size for digest, size in blobs.items() if digest not in existing)
    outcome.transferred = traffic.received if destination else traffic.sent
    # A run mounts blobs that its images share. A later run does not look for them in existing images.
    outcome.lost = traffic.interrupted + lost + (shared if len(runs) > 1 else 0)
    surplus = outcome.transferred - outcome.required - outcome.lost
    allowed = MIN_RESUMED if destination and len(runs) > 1 else MIN_SURPLUS
    if surplus > SURPLUS_RATIO * outcome.required + allowed:
        outcome.problems.append(f"the module transferred {surplus} bytes more than the required {outcome.required}")


def _read_image(registry: AnyRegistry, destination: Path | None, name: str) -> inspection.StoredImage:
    if destination is None:
        return inspection.in_registry(registry.address, name, "1")
    return inspection.in_layout(destination, f"docker.io/{name}:1")
