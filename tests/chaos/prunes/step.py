# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one prune: pushes the missing images, prunes with faults until it succeeds, and checks the registry."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..checks import check_result
from ..faults.base import Fault, FaultContext
from ..faults.injector import Faults
from ..module_process import Run
from .checks import PruneOutcome, check_contents, check_pushes, check_tags
from .clients import Target
from .model import Expectation, Rules, StoredRepository, Use, expect, fallback_tag
from .plan import CONCURRENT_REPOSITORY, Moment, Phase, Plan, Protection, Push
from .pool import HOST, Entry, Image
from .testbed import PruneTestbed

_MAX_RUNS = 6
_POLL = 0.05
_SAMPLE = 8
"""Images that other clients pull after each prune but the last one, which is followed by pulls of all images."""


def prune(plan: Plan, images: Sequence[Image], testbed: PruneTestbed, all_clients: bool = False) -> PruneOutcome:
    """Run a prune and return its outcome.

    Args:
        plan: The prune's plan.
        images: The images of the campaign.
        testbed: The testbed.
        all_clients: Whether containerd and skopeo pull all kept images, and not only a sample.
    """
    start = time.monotonic()
    outcome = PruneOutcome(plan.number)
    _Prune(plan, images, testbed, outcome).run(all_clients)
    outcome.total_seconds = time.monotonic() - start
    return outcome


class _Prune:
    def __init__(self, plan: Plan, images: Sequence[Image], testbed: PruneTestbed, outcome: PruneOutcome) -> None:
        self._plan = plan
        self._images = images
        self._testbed = testbed
        self._outcome = outcome
        self._folder = testbed.folder / "runs"
        self._runs = 0
        self._ended = threading.Event()
        self._context = FaultContext(testbed, [], "", None, self._start_prune)
        self._faults = Faults(self._context)
        self._lock_file = testbed.client_disk / "images.lock.json"

    def run(self, all_clients: bool) -> None:
        """Run the prune and check the registry."""
        testbed, plan, outcome = self._testbed, self._plan, self._outcome
        self._prepare()
        rules = self._rules()
        testbed.workloads.replace(rules.uses)
        before = testbed.storage.repositories()
        expected = expect(before, rules)
        # A push may replace images of the repository of concurrent pushes.
        kept = sorted(image for image in expected.kept if image[0] != CONCURRENT_REPOSITORY)
        testbed.pulls.use([Target(*image) for image in kept])
        outcome.kept, outcome.deleted = len(expected.kept), len(expected.gone)
        outcome.bytes_before = sum(testbed.storage.blobs().values())
        if plan.disk_full:
            plan.disk_full.inject(self._context)
            outcome.faults.append(plan.disk_full.description())
        threads = [self._in_background(moment, self._injection(fault)) for moment, fault in plan.faults]
        pushes: list[tuple[Push, list[Run]]] = [(push, []) for push in plan.pushes]
        threads += [self._in_background(push.moment, self._push_once(push, runs)) for push, runs in pushes]
        try:
            self._prune_until_success()
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
            self._faults.clear()
            if plan.disk_full and hasattr(self._context, "run"):
                plan.disk_full.clear(self._context)
        for push, runs in pushes:
            if runs and not runs[-1].succeeded:
                # A failed push must succeed once the faults have ended.
                self._push_once(push, runs)()
        outcome.faults += [fault.description() for fault in self._faults.injected]
        self._check(before, expected, pushes, all_clients)

    def _prepare(self) -> None:
        """Push the missing images and set the tag ``latest`` of each repository."""
        stored = self._testbed.storage.repositories()
        library = self._testbed.library
        entries = []
        for image in self._images:
            digest = library.digest(image.content)
            repository = stored.get(image.repository)
            tags = repository.tags if repository else {}
            if not image.tags:
                found = repository is not None and digest in tags.values()
                names = [] if found else library.references(image)
            else:
                names = [f"{HOST}/{image.repository}:{tag}" for tag in image.tags if tags.get(tag) != digest]
            if image.content.has_referrer and fallback_tag(digest) not in tags:
                names = names or library.references(image)
            if self._plan.latest[image.repository] == image.number and tags.get("latest") != digest:
                names = [*names, f"{HOST}/{image.repository}:latest"]
            entries += [Entry(name, image.content) for name in names]
        if entries:
            self._testbed.registry.wait_until_started()
            run = self._push(entries)
            run.wait()
            self._outcome.pushed_before = len(entries)
            if not run.succeeded:
                raise RuntimeError(f"the push before the prune failed: {run.result} {run.stderr}")
        # The nodes still pull the images that the previous prune kept, and some of these are deleted now.
        self._testbed.pulls.use([])
        for number in sorted(self._plan.orphaned):
            image = self._images[number]
            self._testbed.registry.delete(image.repository, library.digest(image.content))

    def _rules(self) -> Rules:
        """Return the rules of the plan, and write the lock file."""
        uses, locked = [], []
        entries: dict[str, str] = {}
        library = self._testbed.library
        for image in self._images:
            digest = library.digest(image.content)
            protection = self._plan.protections.get(image.number)
            by_digest = Use(image.repository, digest=digest)
            if protection == Protection.TAG_USED:
                uses.append(Use(image.repository, tag=image.tags[-1]))
            elif protection == Protection.DIGEST_USED:
                uses.append(by_digest)
            elif protection == Protection.LOCKED:
                entries[library.references(image)[0]] = digest
                locked.append(Use(image.repository, tag=image.tags[0]) if image.tags else by_digest)
        uses += [Use(repository, tag="latest") for repository in sorted(self._plan.latest_used)]
        self._lock_file.write_text(json.dumps(entries, sort_keys=True, indent=1))
        return Rules(self._plan.patterns, tuple(uses), tuple(locked), self._plan.last)

    def _prune_until_success(self) -> None:
        outcome = self._outcome
        for _attempt in range(_MAX_RUNS):
            start = time.monotonic()
            run = self._context.run = self._start_prune("prune")
            run.wait()
            outcome.runs += 1
            if run.killed and not run.hung:
                continue
            error = check_result(outcome, run, self._faults.injected, fault_at_start=bool(self._faults.injected))
            outcome.error = outcome.error or error
            if not error:
                outcome.succeeded = True
                outcome.seconds = time.monotonic() - start
                outcome.read_result(run.result or {})
                return
            if not self._faults.injected:
                return
            # A failed prune must succeed once the faults have ended.
            self._faults.clear()

    def _check(
        self,
        before: Mapping[str, StoredRepository],
        expected: Expectation,
        pushes: Sequence[tuple[Push, list[Run]]],
        all_clients: bool,
    ) -> None:
        outcome, testbed = self._outcome, self._testbed
        if not outcome.succeeded:
            outcome.problems.append(f"the prune did not succeed in {outcome.runs} runs")
        pushed = check_pushes(outcome, pushes, self._faults.injected, testbed.library)
        after = testbed.storage.repositories()
        if outcome.succeeded:
            check_tags(outcome, before, after, expected, pushed)
        # Pushes may replace images of this repository; all images that it has must be complete.
        kept = {image for image in expected.kept | expected.referrers if image[0] != CONCURRENT_REPOSITORY}
        concurrent = after[CONCURRENT_REPOSITORY].tags.values() if CONCURRENT_REPOSITORY in after else ()
        complete = sorted({*kept, *((CONCURRENT_REPOSITORY, digest) for digest in concurrent)})
        check_contents(outcome, testbed.storage, complete, self._plan.undisturbed and outcome.succeeded)
        targets = [Target(*image) for image in complete if image not in expected.referrers]
        sample = targets if all_clients else _sample(targets, self._plan.number)
        outcome.problems += [*testbed.skopeo_problems(sample), *testbed.containerd_problems(sample)]
        outcome.pulled_after = len(sample)
        pulls = testbed.pulls.take()
        outcome.requests, outcome.pulls = pulls.requests, pulls.images
        outcome.failed_pulls = len(pulls.failures)
        if not pulls.requests or not pulls.images:
            outcome.problems.append(f"{pulls.requests} requests and {pulls.images} pulls ran on the nodes: too few")
        outcome.problems += [f"failed pull: {failure}" for failure in dict.fromkeys(pulls.failures)]

    def _in_background(self, moment: Moment, act: Callable[[], None]) -> threading.Thread:
        """Start a thread that acts at a moment of the prune; it does nothing if the prune ends before."""

        def wait_and_act() -> None:
            if self._wait_for(moment.phase) and not self._ended.wait(moment.delay):
                act()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        return thread

    def _wait_for(self, phase: Phase) -> bool:
        registry = self._testbed.registry
        before = registry.running_registries()
        while not self._ended.wait(_POLL):
            run = getattr(self._context, "run", None)
            if run is None:
                continue
            if (
                phase == Phase.START
                or (phase == Phase.DELETION and run.has_sent("DELETE"))
                or (phase == Phase.COLLECTION and registry.running_registries() != before)
            ):
                return True
        return False

    def _injection(self, fault: Fault) -> Callable[[], None]:
        return lambda: self._faults.inject(fault)

    def _push_once(self, push: Push, runs: list[Run]) -> Callable[[], None]:
        def act() -> None:
            run = self._push(push.entries, push.mount_from)
            runs.append(run)
            run.wait()

        return act

    def _push(self, entries: Sequence[Entry], mount_from: Sequence[str] = ()) -> Run:
        library = self._testbed.library
        images = [entry.option(library) for entry in entries]
        options = {**self._testbed.push_options, "images": images, "mount_from": list(mount_from)}
        return self._start("push", options)

    def _start_prune(self, action: str) -> Run:
        options = {
            **self._testbed.options(self._plan.connection, registry_proxy=False),
            "keep": list(self._plan.patterns),
            "keep_lock": [str(self._lock_file)],
            **({"keep_last": self._plan.last} if self._plan.last else {}),
        }
        return self._start(action, options)

    def _start(self, action: str, options: dict[str, Any]) -> Run:
        self._runs += 1
        disk = self._testbed.client_disk
        environment = {"XDG_CACHE_HOME": str(disk / f"cache-{action}"), "TMPDIR": str(disk / "tmp")}
        return Run(self._folder / f"{self._plan.number}-{self._runs}", action, options, (), environment)


def _sample(targets: Sequence[Target], number: int) -> list[Target]:
    """Return a few images, others after each prune."""
    parts = max(1, len(targets) // _SAMPLE)
    return list(targets[number % parts :: parts])
