# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apply or delete objects in a cluster, and report the changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ApiServerError, ClusterError, InputError, K8scrError
from ..objects.client import KubernetesClient
from ..objects.definitions import display_name, read_options, redact_secret, without_server_fields
from ..objects.diagnostics import Diagnostics
from ..objects.readiness import readiness_of
from ..transport.cluster import connect
from ..transport.settings import ClusterSettings
from .cluster_options import cluster_settings
from .numbers import read_number
from .polling import Poll

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


@dataclass(frozen=True)
class ApplySettings:
    """The options of ``k8scr_apply``, without the definitions.

    Attributes:
        cluster: The cluster.
        present: Whether to apply the objects; otherwise they are deleted.
        namespace: The namespace of objects without one.
        force: Whether to take over fields of other field managers.
        keep_existing: Whether existing objects stay unchanged.
        wait: Whether to wait until objects are ready or deleted.
        wait_timeout: Seconds to wait.
    """

    cluster: ClusterSettings
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
            InputError: An option is invalid.
        """
        return cls(
            cluster_settings(options),
            options["state"] == "present",
            options["namespace"],
            options["force"],
            options["keep_existing"],
            options["wait"],
            read_number(options, "wait_timeout"),
        )


def run_apply(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Apply or delete objects and return the module's result.

    Args:
        options: The parameters of ``k8scr_apply``.
        check_mode: Whether to only report the changes.

    Returns:
        ``changed``, ``objects`` and ``diff``; if an object failed, also ``failed`` and ``msg``, with the objects before
        it.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option or a definition is invalid.
    """
    settings = ApplySettings.from_options(options)
    definitions = read_options(options["definition"], options["src"])
    with connect(settings.cluster) as cluster:
        client = KubernetesClient(cluster)
        applier = Applier(client, check_mode, settings.namespace, settings.force, settings.keep_existing)
        return _run(applier, definitions, settings, check_mode)


def _run(
    applier: Applier, definitions: Sequence[Mapping[str, Any]], settings: ApplySettings, check_mode: bool
) -> dict[str, Any]:
    present = settings.present
    act, wait = (applier.apply, applier.wait_ready) if present else (applier.delete, applier.wait_gone)
    outcomes: list[Outcome] = []
    failure: dict[str, Any] = {}
    try:
        for definition in definitions if present else reversed(definitions):
            outcomes.append(act(definition))
        if settings.wait and not check_mode:
            wait(outcomes, settings.wait_timeout)
    except K8scrError as error:
        failure = {"failed": True, "msg": str(error)}
    return {
        "changed": any(outcome.changed for outcome in outcomes),
        "objects": [outcome.result for outcome in outcomes],
        "diff": [outcome.diff for outcome in outcomes if outcome.changed],
        **failure,
    }


@dataclass(frozen=True)
class Outcome:
    """The result of one object.

    Attributes:
        action: ``created``, ``updated``, ``unchanged`` or ``deleted``; in check mode the planned action.
        definition: The object's definition.
        namespace: Its namespace; None if it has none.
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
    """Applies or deletes objects, one after the other.

    Args:
        client: The cluster's objects.
        check_mode: Whether to only report the changes, with a dry run of the API server.
        namespace: The namespace of objects without one.
        force: Whether to take over fields of other field managers.
        keep_existing: Whether existing objects stay unchanged.
    """

    def __init__(
        self,
        client: KubernetesClient,
        check_mode: bool = False,
        namespace: str = "default",
        force: bool = False,
        keep_existing: bool = False,
    ) -> None:
        self._client = client
        self._check_mode = check_mode
        self._namespace = namespace
        self._force = force
        self._keep_existing = keep_existing
        self._planned_kinds: dict[tuple[str, str], bool] = {}

    def apply(self, definition: Mapping[str, Any]) -> Outcome:
        """Create or update one object.

        Raises:
            ApiServerError: The API server rejects it.
            InputError: The cluster does not know its kind.
        """
        kind = self._kind(definition)
        if kind is None:
            namespaced = self._planned_kinds[_group_kind(definition)]
            return Outcome("created", definition, self._namespace_of(definition, namespaced), {}, definition)
        namespace = self._namespace_of(definition, kind.namespaced)
        name = definition["metadata"]["name"]
        before = self._client.get(kind, name, namespace)
        if before is not None and self._keep_existing:
            outcome = Outcome("unchanged", definition, namespace, before, before)
        elif before is None and self._keep_existing:
            outcome = self._create(kind, definition, namespace)
        else:
            outcome = self._apply(kind, definition, namespace, before)
        self._remember_kind(definition)
        return outcome

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
        self._client.delete(kind, name, namespace, self._check_mode)
        return Outcome("deleted", definition, namespace, before, {})

    def wait_ready(self, outcomes: Sequence[Outcome], timeout: float) -> None:
        """Wait until applied objects are ready.

        Args:
            outcomes: The results of :meth:`apply`.
            timeout: Seconds for all objects together.

        Raises:
            ClusterError: An object does not become ready; the message has the reasons of the cluster.
        """
        poll = Poll(timeout)
        for outcome in outcomes:
            self._wait_ready(outcome, poll)

    def wait_gone(self, outcomes: Sequence[Outcome], timeout: float) -> None:
        """Wait until deleted objects no longer exist.

        Args:
            outcomes: The results of :meth:`delete`.
            timeout: Seconds for all objects together.

        Raises:
            ClusterError: An object still exists at the end.
        """
        poll = Poll(timeout)
        for outcome in outcomes:
            if outcome.action != "deleted":
                continue
            while True:
                item = self._look(outcome)
                if item is None or item["metadata"].get("uid") != outcome.before["metadata"].get("uid"):
                    break
                if poll.expired:
                    finalizers = ", ".join(item["metadata"].get("finalizers") or [])
                    because = f"; it waits for the finalizers {finalizers}" if finalizers else ""
                    name = display_name(outcome.definition, outcome.namespace)
                    raise ClusterError(f"{name} is still there after {timeout:g} s{because}")
                poll.pause()

    def _apply(
        self, kind: Any, definition: Mapping[str, Any], namespace: str | None, before: Mapping[str, Any] | None
    ) -> Outcome:
        try:
            after = self._client.apply(kind, definition, namespace, self._check_mode, self._force)
        except ApiServerError as error:
            if not self._would_exist(error, namespace):
                raise
            after = dict(definition)
        if before is None:
            action = "created"
        else:
            action = "unchanged" if without_server_fields(before) == without_server_fields(after) else "updated"
        return Outcome(action, definition, namespace, before or {}, after)

    def _create(self, kind: Any, definition: Mapping[str, Any], namespace: str | None) -> Outcome:
        try:
            after = self._client.create(kind, definition, namespace, self._check_mode)
        except ApiServerError as error:
            if not self._would_exist(error, namespace):
                raise
            after = dict(definition)
        if after is None:
            existing = self._client.get(kind, definition["metadata"]["name"], namespace) or {}
            return Outcome("unchanged", definition, namespace, existing, existing)
        return Outcome("created", definition, namespace, {}, after)

    def _would_exist(self, error: ApiServerError, namespace: str | None) -> bool:
        """Whether a dry run failed only because check mode does not create the namespace."""
        if not self._check_mode or error.status != 404 or namespace is None:
            return False
        namespaces = self._client.find_kind("v1", "Namespace")
        return self._client.get(namespaces, namespace, None) is None

    def _kind(self, definition: Mapping[str, Any]) -> Any | None:
        """How the cluster serves the definition's kind; None for one that only a real run would have made."""
        poll = Poll(_KIND_TIMEOUT)
        while True:
            kind = self._client.find_kind(definition["apiVersion"], definition["kind"])
            if kind is not None:
                return kind
            promised = _group_kind(definition) in self._planned_kinds
            if promised and self._check_mode:
                return None
            if not promised or poll.expired:
                raise InputError(
                    f"the cluster does not know the kind {definition['kind']} of {definition['apiVersion']}",
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
        return definition["metadata"].get("namespace") or self._namespace

    def _wait_ready(self, outcome: Outcome, poll: Poll) -> None:
        name = display_name(outcome.definition, outcome.namespace)
        while True:
            item = self._look(outcome)
            if item is None:
                raise ClusterError(f"{name} was deleted before it was ready")
            state = readiness_of(item)
            if state.ready or self._binds_later(item):
                return
            if state.terminal or poll.expired:
                why = Diagnostics(self._client).reasons(item)
                within = "" if state.terminal else f" within {poll.seconds:g} s"
                said = f". The cluster says: {why}" if why else ""
                raise ClusterError(f"{name} did not get ready{within}: {state.progress}{said}")
            poll.pause()

    def _look(self, outcome: Outcome) -> dict[str, Any] | None:
        kind = self._client.find_kind(outcome.definition["apiVersion"], outcome.definition["kind"])
        if kind is None:
            return None
        return self._client.get(kind, outcome.definition["metadata"]["name"], outcome.namespace)

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
