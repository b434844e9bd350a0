# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apply or delete objects in a cluster, and report the changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ApiServerError, InputError, K8scrError, failure_lines
from ..http.retry import Retries
from ..objects.client import KubernetesClient
from ..objects.definitions import (
    Definition,
    read_options,
    redact_definition,
    without_server_fields,
)
from ..transfer.progress import SILENT, Progress, elapsed
from ..transfer.retry_status import RetryStatus
from ..transport.cluster import connect
from .apply_outcome import Outcome
from .apply_wait import Poll, wait_for_objects
from .cluster_options import cluster_settings
from .numbers import read_number
from .progress_options import PROGRESS_ARGUMENT_SPEC

_KIND_TIMEOUT = 30.0
"""Seconds to wait until the API server serves a kind after its CustomResourceDefinition was applied."""

APPLY_ARGUMENT_SPEC: dict[str, Any] = {
    "definition": {"type": "raw"},
    "src": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "namespace": {"type": "str", "default": "default"},
    "force": {"type": "bool", "default": False},
    "keep_existing": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 180},
    **PROGRESS_ARGUMENT_SPEC,
}
APPLY_EMPTY_RESULT: Mapping[str, Any] = {"objects": []}
APPLY_RULES: dict[str, Any] = {
    "mutually_exclusive": [("definition", "src")],
    "required_one_of": [("definition", "src")],
}
APPLY_REDACTIONS = {"definition": redact_definition}
"""The options with secrets, as :class:`RedactingModule` takes them."""


@dataclass(frozen=True)
class ApplySettings:
    """The options of ``k8scr_apply``, without the cluster and the definitions; ``present`` stands for ``state``."""

    present: bool
    namespace: str
    force: bool
    keep_existing: bool
    wait: bool
    wait_timeout: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ApplySettings:
        """Read the module's parameters.

        Raises:
            InputError: ``wait_timeout`` is out of bounds.
        """
        return cls(
            options["state"] == "present",
            options["namespace"],
            options["force"],
            options["keep_existing"],
            options["wait"],
            read_number(options, "wait_timeout"),
        )


def run_apply(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Apply or delete objects and return the module's result.

    Returns:
        ``changed``, ``objects`` and ``diff``; if an object failed, also ``failed`` and ``msg``, with the objects before
        it.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option or a definition is invalid.
    """
    settings = ApplySettings.from_options(options)
    definitions = read_options(options["definition"], options["src"])
    with connect(cluster_settings(options)) as cluster:
        retries = RetryStatus(progress)
        policy = Retries(on_retry=retries.retried, on_recovery=retries.recovered)
        applier = Applier(KubernetesClient(cluster, policy), settings, check_mode)
        return _run(applier, definitions, progress, retries)


def _run(
    applier: Applier, definitions: Sequence[Definition], progress: Progress, retries: RetryStatus
) -> dict[str, Any]:
    settings = applier.settings
    action = "checking" if applier.check_mode else "applying" if settings.present else "deleting"
    outcomes: list[Outcome] = []
    errors: list[K8scrError] = []
    try:
        with retries.status(elapsed(f"{action} objects", after=5.0)):
            for definition in definitions if settings.present else reversed(definitions):
                with _named(definition):
                    act = applier.apply if settings.present else applier.delete
                    outcome = act(definition.item)
                outcomes.append(outcome)
                if outcome.changed and not applier.check_mode:
                    progress.line(outcome.line)
        if settings.wait and not applier.check_mode:
            waiting = [outcome for outcome in outcomes if settings.present or outcome.changed]
            errors = wait_for_objects(applier.client, waiting, settings.wait_timeout, progress, retries)
    except K8scrError as error:
        errors = [error]
    failure = {"failed": True, "msg": "\n".join(failure_lines(("", error) for error in errors))} if errors else {}
    return {
        "changed": any(outcome.changed for outcome in outcomes),
        "objects": [outcome.result for outcome in outcomes],
        "diff": [outcome.diff for outcome in outcomes if outcome.changed],
        **failure,
    }


@contextmanager
def _named(definition: Definition) -> Iterator[None]:
    """Add the document of a definition to the messages of errors, if its file has several."""
    try:
        yield
    except K8scrError as error:
        if not definition.source:
            raise
        raise error.replace(f"{error.message} ({definition.source})") from error


class Applier:
    """Applies or deletes objects, one after the other; in check mode with a dry run of the API server."""

    def __init__(self, client: KubernetesClient, settings: ApplySettings, check_mode: bool) -> None:
        self.settings = settings
        self.check_mode = check_mode
        self.client = client
        self._planned_kinds: dict[tuple[str, str], bool] = {}

    def apply(self, definition: Mapping[str, Any]) -> Outcome:
        """Create or update one object.

        Raises:
            ApiServerError: The API server rejects it.
            InputError: The API server does not serve its kind.
        """
        kind = self._kind(definition)
        if kind is None:
            namespaced = self._planned_kinds[_group_kind(definition)]
            return Outcome("created", definition, self._namespace_of(definition, namespaced), {}, definition)
        namespace = self._namespace_of(definition, kind.namespaced)
        before, after = self._write(kind, definition, namespace)
        self._remember_kind(definition)
        action = "created"
        if before is not None:
            action = "unchanged" if without_server_fields(before) == without_server_fields(after) else "updated"
        return Outcome(action, definition, namespace, before or {}, after)

    def delete(self, definition: Mapping[str, Any]) -> Outcome:
        """Delete one object.

        Raises:
            ApiServerError: The API server rejects it.
        """
        kind = self.client.find_kind(definition["apiVersion"], definition["kind"])
        if kind is None:
            return Outcome("unchanged", definition, None, {}, {})
        namespace = self._namespace_of(definition, kind.namespaced)
        name = definition["metadata"]["name"]
        before = self.client.get(kind, name, namespace)
        if before is None:
            return Outcome("unchanged", definition, namespace, {}, {})
        self.client.delete(kind, name, namespace, self.check_mode)
        return Outcome("deleted", definition, namespace, before, {})

    def _write(
        self, kind: Any, definition: Mapping[str, Any], namespace: str | None
    ) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
        """Create or update an object and return it before and after that."""
        name = definition["metadata"]["name"]
        before = self.client.get(kind, name, namespace)
        if before is not None and self.settings.keep_existing:
            return before, before
        try:
            if not self.settings.keep_existing:
                return before, self.client.apply(kind, definition, namespace, self.check_mode, self.settings.force)
            created = self.client.create(kind, definition, namespace, self.check_mode)
        except ApiServerError as error:
            if not self._would_exist(error, namespace):
                raise
            return before, definition
        if created is not None:
            return None, created
        # Another client has created the object since it was read.
        existing = self.client.get(kind, name, namespace) or {}
        return existing, existing

    def _would_exist(self, error: ApiServerError, namespace: str | None) -> bool:
        """Whether a dry run failed only because check mode does not create the namespace."""
        if not self.check_mode or error.status != 404 or namespace is None:
            return False
        namespaces = self.client.find_kind("v1", "Namespace")
        return self.client.get(namespaces, namespace, None) is None

    def _kind(self, definition: Mapping[str, Any]) -> Any | None:
        """Return the kind of a definition; None in check mode for a kind whose definition is only planned."""
        poll = Poll(_KIND_TIMEOUT)
        while True:
            kind = self.client.find_kind(definition["apiVersion"], definition["kind"])
            if kind is not None:
                return kind
            is_planned = _group_kind(definition) in self._planned_kinds
            if is_planned and self.check_mode:
                return None
            if not is_planned or poll.expired:
                raise InputError(
                    f"the API server does not serve the kind {definition['kind']} of {definition['apiVersion']}",
                    "Check both, and apply the CustomResourceDefinition first",
                )
            poll.pause()

    def _remember_kind(self, definition: Mapping[str, Any]) -> None:
        if definition["kind"] == "CustomResourceDefinition":
            spec = definition.get("spec") or {}
            kind = (spec.get("names") or {}).get("kind", "")
            self._planned_kinds[spec.get("group", ""), kind] = spec.get("scope") == "Namespaced"

    def _namespace_of(self, definition: Mapping[str, Any], namespaced: bool) -> str | None:
        if not namespaced:
            return None
        return definition["metadata"].get("namespace") or self.settings.namespace


def _group_kind(definition: Mapping[str, Any]) -> tuple[str, str]:
    group, slash, _version = definition["apiVersion"].partition("/")
    return (group if slash else "", definition["kind"])
