# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delete images from the cluster's registry that no rule keeps, with the parameters of ``k8scr_prune``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..errors import InputError, LostTagsError, failure_lines
from ..objects.workloads import find_image_uses
from ..oci.decimal import parse_decimal
from ..oci.digest_tag import digest_tag
from ..registry.cluster import connect_registry
from ..registry.collector import Collector
from ..transfer.listener import Listeners, RetryLog
from ..transfer.lock import read_lock
from ..transfer.progress import SILENT, Progress
from ..transfer.prune import Prune, PruneResult
from ..transfer.retention import LockedImage, Rules
from ..transfer.retention_marks import Verdict, name_of
from ..transfer.retry_status import RetryStatus
from ..transfer.texts import counted, size_text
from ..transfer.usage import repositories_of
from .delivered_names import delivered_images
from .numbers import read_number
from .progress_options import PROGRESS_ARGUMENT_SPEC
from .registry_settings import REGISTRY_ARGUMENT_SPEC, registry_settings

PRUNE_ARGUMENT_SPEC: dict[str, Any] = {
    "repositories": {"type": "list", "elements": "str", "default": ["*"]},
    "keep_used": {"type": "bool", "default": True},
    "keep_lock": {"type": "list", "elements": "path", "default": []},
    "keep_last": {"type": "int"},
    "keep_younger": {"type": "str"},
    "keep": {"type": "list", "elements": "str", "default": []},
    "allow_empty": {"type": "bool", "default": False},
    "collect": {"type": "bool", "default": True},
    "collect_timeout": {"type": "int", "default": 1800},
    **REGISTRY_ARGUMENT_SPEC,
    **PROGRESS_ARGUMENT_SPEC,
}
PRUNE_EMPTY_RESULT: Mapping[str, Any] = {
    "images": [],
    "images_space_reclaimed": 0,
    "kept": [],
    "protected": [],
    "collected": {},
    "errors": [],
    "retries": [],
}
_AGE = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def run_prune(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Prune the registry and return the module's result.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option is invalid, or the rules do not allow a safe prune.
        SourceError: An image that stays cannot be read.
        RegistryError: The registry does not list its images, or does not allow deletion.
    """
    settings, rules, log = registry_settings(options), read_rules(options), RetryLog()
    timeout = read_number(options, "collect_timeout")
    retries = RetryStatus(progress)
    listener = Listeners(retries, log)
    with (
        log.in_errors(),
        connect_registry(settings, writes=True, on_retry=listener.retried, on_recovery=listener.recovered) as registry,
    ):
        find_uses = partial(find_image_uses, registry.api_server, registry.retries) if options["keep_used"] else None
        collector = Collector(registry, settings.pod) if options["collect"] else None
        allow_empty = options["allow_empty"]
        prune = Prune(
            registry,
            settings.connections,
            rules,
            find_uses,
            collector,
            timeout,
            allow_empty,
            retries.status,
            delivered_images(registry, settings.pod, settings.connections),
        )
        result = prune.run(check_mode)
    progress.line(closing_line(result, check_mode))
    for pattern in result.decision.unmatched:
        warn(f"No image in the registry matches {pattern!r:.300} in the option keep.")
    return {**prune_report(result), "retries": log.entries}


def read_rules(options: Mapping[str, Any]) -> Rules:
    """Return the rules without the workloads.

    Raises:
        InputError: A number or an age is out of bounds, or a lock file cannot be read.
    """
    age = options["keep_younger"]
    return Rules(
        repositories=tuple(options["repositories"]),
        locked=tuple(_locked(options["keep_lock"])),
        last=read_number(options, "keep_last") if options["keep_last"] is not None else None,
        younger=_read_age(age) if age is not None else None,
        age=age or "",
        now=time.time(),
        patterns=tuple(options["keep"]),
    )


def _locked(files: list[str]) -> Iterator[LockedImage]:
    """Yield the entries for both repositories of each name, because pushes may have used another ``qualify``."""
    for file in files:
        for name, digest in read_lock(Path(file)):
            for repository in repositories_of(name):
                yield LockedImage(file, repository, None if name.digest else name.tag, digest)


def _read_age(text: str) -> float:
    match = _AGE.fullmatch(text)
    if match is None:
        raise InputError(
            f"keep_younger is {text!r:.80}, which is not an age",
            "An age is a number with one of the units s, m, h, d and w, such as 14d",
        )
    return (parse_decimal(match["number"]) or 0) * _SECONDS[match["unit"]]


def prune_report(result: PruneResult) -> dict[str, Any]:
    """Return the result: the deleted tags, the others with their reasons, and ``msg`` and ``failed`` after errors."""
    decision, found = result.decision, result.collection
    value: dict[str, Any] = {
        "changed": result.changed,
        "images": [entry for verdict in decision.verdicts for entry in _deleted_entries(verdict)],
        "images_space_reclaimed": decision.reclaimed,
        "kept": [entry for verdict in decision.verdicts for entry in _kept_entries(verdict)],
        "protected": [name_of(image, digest_tag(image.root.digest)) for image in result.protected],
        "collected": {"before": found.before, "after": found.after, "seconds": found.seconds} if found else {},
        "errors": [str(error) for error in result.errors],
    }
    value["diff"] = {"prepared": _diff(value)}
    if result.errors:
        count = len(value["images"])
        done = f"Tags deleted before: {count}."
        if not any(isinstance(error, LostTagsError) for error in result.errors):
            done = f"{done} All images that the rules kept at the start are unchanged."
        value.update(failed=True, msg="\n".join([*failure_lines(("", error) for error in result.errors), done]))
    return value


def closing_line(result: PruneResult, check_mode: bool) -> str:
    """Return the last line about a prune: the deleted and kept tags, and the reclaimed bytes."""
    decision, found = result.decision, result.collection
    deleted = counted(len(decision.deleted), "tag")
    kept = sum(1 for verdict in decision.verdicts for _entry in _kept_entries(verdict))
    if check_mode:
        return f"would delete {deleted}, {size_text(decision.reclaimed)} are only in deleted images; {kept} kept"
    freed = found.before - found.after if found and found.before is not None and found.after is not None else None
    reclaimed = f", {size_text(max(freed, 0))} reclaimed" if freed is not None else ""
    return f"deleted {deleted}{reclaimed}; {kept} kept"


def _deleted_entries(verdict: Verdict) -> Iterator[dict[str, Any]]:
    content = "kept" if verdict.stays else "deleted"
    for tag in verdict.deleted:
        yield {
            "image": name_of(verdict.image, tag),
            "digest": verdict.digest,
            "size": verdict.image.size,
            "content": content,
        }


def _kept_entries(verdict: Verdict) -> Iterator[dict[str, Any]]:
    kept = {**({"": verdict.reasons} if verdict.reasons else {}), **verdict.kept}
    for tag, reasons in kept.items():
        yield {"image": name_of(verdict.image, tag), "digest": verdict.digest, "reasons": list(reasons)}


def _diff(value: Mapping[str, Any]) -> str:
    lines = [f"-{entry['image']} {entry['digest']}" for entry in value["images"]]
    lines += [f"+{name}" for name in value["protected"]]
    lines += [f" {entry['image']} {entry['digest']} ({'; '.join(entry['reasons'])})" for entry in value["kept"]]
    return "\n".join([*lines, f"{value['images_space_reclaimed']} bytes are only in deleted images.", ""])
