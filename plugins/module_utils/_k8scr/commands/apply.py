# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apply or delete objects in a cluster, and report the changes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ApiServerError, ClusterError, InputError, K8scrError
from ..objects.client import KubernetesClient
from ..objects.definitions import (
    Definition,
    display_name,
    read_options,
    redact_definition,
    redact_secret,
    without_server_fields,
)
from ..objects.diagnostics import Diagnostics
from ..objects.readiness import readiness_of
from ..transfer.progress import SILENT, Progress
from ..transport.cluster import connect
from .cluster_options import cluster_settings
from .numbers import read_number

_POLL_INTERVAL = 1.0
"""Seconds between two requests for the state of an object."""
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
}
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


def run_apply(options: Mapping[str, Any], check_mode: bool, _progress: Progress = SILENT) -> dict[str, Any]:
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
        return _run(Applier(KubernetesClient(cluster), settings, check_mode), definitions)


def _run(applier: Applier, definitions: Sequence[Definition]) -> dict[str, Any]:
    settings = applier.settings
    outcomes: list[Outcome] = []
    failure: dict[str, Any] = {}
    try:
        for definition in definitions if settings.present else reversed(definitions):
            with _named(definition):
                act = applier.apply if settings.present else applier.delete
                outcomes.append(act(definition.item))
        if settings.wait and not applier.check_mode:
            poll = Poll(settings.wait_timeout)
            for outcome in outcomes:
                applier.wait(outcome, poll)
    except K8scrError as error:
        failure = {"failed": True, "msg": str(error)}
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


@dataclass(frozen=True)
class Outcome:
    """The result of one object.

    Attributes:
        action: ``created``, ``updated``, ``unchanged`` or ``deleted``; in check mode the planned action.
        namespace: The object's namespace; None for a cluster-scoped object.
        before: The object before the action; empty if it did not exist.
        after: The object after the action; empty if it does not exist.
    """

    action: str
    definition: Mapping[str, Any]
    namespace: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        """Whether the object changed."""
        return self.action != "unchanged"

    @property
    def result(self) -> dict[str, Any]:
        """The entry in the module's result, without secrets."""
        return {
            "api_version": self.definition["apiVersion"],
            "kind": self.definition["kind"],
            "name": self.definition["metadata"]["name"],
            "namespace": self.namespace,
            "action": self.action,
            "object": redact_secret(without_server_fields(self.after or self.before)),
        }

    @property
    def diff(self) -> dict[str, Any]:
        """The entry for ``--diff``."""
        before, after = without_server_fields(self.before), without_server_fields(self.after)
        name = display_name(self.definition, self.namespace)
        return {
            "before_header": name,
            "after_header": name,
            "before": redact_secret(before, after, "before"),
            "after": redact_secret(after, before, "after"),
        }


class Applier:
    """Applies or deletes objects, one after the other; in check mode with a dry run of the API server."""

    def __init__(self, client: KubernetesClient, settings: ApplySettings, check_mode: bool) -> None:
        self.settings = settings
        self.check_mode = check_mode
        self._client = client
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
        kind = self._client.find_kind(definition["apiVersion"], definition["kind"])
        if kind is None:
            return Outcome("unchanged", definition, None, {}, {})
        namespace = self._namespace_of(definition, kind.namespaced)
        name = definition["metadata"]["name"]
        before = self._client.get(kind, name, namespace)
        if before is None:
            return Outcome("unchanged", definition, namespace, {}, {})
        self._client.delete(kind, name, namespace, self.check_mode)
        return Outcome("deleted", definition, namespace, before, {})

    def wait(self, outcome: Outcome, poll: Poll) -> None:
        """Wait until an applied object is ready, or a deleted object no longer exists.

        Raises:
            ClusterError: The object does not become ready, or still exists at the end; the message has the reasons of
                the cluster.
        """
        if self.settings.present:
            self._wait_ready(outcome, poll)
        elif outcome.action == "deleted":
            self._wait_deleted(outcome, poll)

    def _write(
        self, kind: Any, definition: Mapping[str, Any], namespace: str | None
    ) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
        """Create or update an object and return it before and after that."""
        name = definition["metadata"]["name"]
        before = self._client.get(kind, name, namespace)
        if before is not None and self.settings.keep_existing:
            return before, before
        try:
            if not self.settings.keep_existing:
                return before, self._client.apply(kind, definition, namespace, self.check_mode, self.settings.force)
            created = self._client.create(kind, definition, namespace, self.check_mode)
        except ApiServerError as error:
            if not self._would_exist(error, namespace):
                raise
            return before, definition
        if created is not None:
            return None, created
        # Another client has created the object since it was read.
        existing = self._client.get(kind, name, namespace) or {}
        return existing, existing

    def _would_exist(self, error: ApiServerError, namespace: str | None) -> bool:
        """Whether a dry run failed only because check mode does not create the namespace."""
        if not self.check_mode or error.status != 404 or namespace is None:
            return False
        namespaces = self._client.find_kind("v1", "Namespace")
        return self._client.get(namespaces, namespace, None) is None

    def _kind(self, definition: Mapping[str, Any]) -> Any | None:
        """Return the kind of a definition; None in check mode for a kind whose definition is only planned."""
        poll = Poll(_KIND_TIMEOUT)
        while True:
            kind = self._client.find_kind(definition["apiVersion"], definition["kind"])
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

    def _wait_ready(self, outcome: Outcome, poll: Poll) -> None:
        name = display_name(outcome.definition, outcome.namespace)
        while True:
            item = self._read(outcome, poll)
            if item is None:
                raise ClusterError(f"{name} was deleted before it was ready")
            state = readiness_of(item)
            if state.ready or self._binds_later(item):
                return
            if state.terminal or poll.expired:
                reasons = Diagnostics(self._client.limited_to(0.0)).reasons(item)
                within = "" if state.terminal else f" within {poll.seconds:g} s"
                explanation = f". The cluster reports: {reasons}" if reasons else ""
                raise ClusterError(f"{name} did not become ready{within}: {state.progress}{explanation}")
            poll.pause()

    def _wait_deleted(self, outcome: Outcome, poll: Poll) -> None:
        while True:
            item = self._read(outcome, poll)
            if item is None or item["metadata"].get("uid") != outcome.before["metadata"].get("uid"):
                return
            if poll.expired:
                finalizers = ", ".join(item["metadata"].get("finalizers") or [])
                because = f"; it waits for the finalizers {finalizers}" if finalizers else ""
                name = display_name(outcome.definition, outcome.namespace)
                raise ClusterError(f"{name} still exists after {poll.seconds:g} s{because}")
            poll.pause()

    def _read(self, outcome: Outcome, poll: Poll) -> dict[str, Any] | None:
        client = self._client.limited_to(poll.remaining)
        kind = client.find_kind(outcome.definition["apiVersion"], outcome.definition["kind"])
        if kind is None:
            return None
        return client.get(kind, outcome.definition["metadata"]["name"], outcome.namespace)

    def _binds_later(self, item: Mapping[str, Any]) -> bool:
        """Whether this is a PersistentVolumeClaim that is bound when the first Pod uses it."""
        storage_class = (item.get("spec") or {}).get("storageClassName")
        if item.get("kind") != "PersistentVolumeClaim" or not storage_class:
            return False
        kind = self._client.find_kind("storage.k8s.io/v1", "StorageClass")
        try:
            found = self._client.get(kind, storage_class, None)
        except ApiServerError:
            return False
        return (found or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def _group_kind(definition: Mapping[str, Any]) -> tuple[str, str]:
    group, slash, _version = definition["apiVersion"].partition("/")
    return (group if slash else "", definition["kind"])


class Poll:
    """The time limit of a poll, and the pauses between its requests.

    Args:
        seconds: Seconds until the deadline; the time starts now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begin = time.monotonic()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 if it has passed."""
        return max(self.seconds - (time.monotonic() - self._begin), 0.0)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return not self.remaining

    def pause(self) -> None:
        """Wait until the next request."""
        time.sleep(_POLL_INTERVAL)
