# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of the images that a registry has, for admission policies, which cannot send requests to the registry.

The list is the ConfigMap ``NAME-delivered``, where ``NAME`` is the registry's StatefulSet. It exists only if the role
``image_policy`` uses it. A key is a repository with ``._`` in place of each slash: keys cannot contain slashes, and
repositories cannot contain ``._``. The value has the tags of the repository and the digests of its images, separated by
single spaces.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ApiServerError, InputError, Retry
from ..oci.json_object import json_object
from ..oci.reference import is_repository, target_name
from .write_path import stateful_set_of

if TYPE_CHECKING:
    from ..http.retry import Retries
    from ..transport.api_server import ApiServerAdapter
    from .cluster import PodSettings

Name = tuple[str, str]
"""A repository, and a tag or a digest."""
_SLASH = "._"
_LONGEST_KEY = 253
"""Characters of a ConfigMap's key."""
_NOT_FOUND, _CONFLICT = 404, 409
_TOO_LARGE = re.compile("too (?:long|large)", re.IGNORECASE)
"""The reason of the API server or of etcd for an object that is too large."""


@dataclass(frozen=True)
class NamesChange:
    """The list before and after a change."""

    list_name: str
    before: frozenset[Name]
    after: frozenset[Name]

    @property
    def changed(self) -> bool:
        """Whether the list changed."""
        return self.before != self.after

    @property
    def diff(self) -> dict[str, str]:
        """The names that were removed and added, as ``--diff`` shows them."""
        return {
            "before": _lines(self.before - self.after),
            "after": _lines(self.after - self.before),
            "before_header": self.list_name,
            "after_header": self.list_name,
        }


class DeliveredNames:
    """The list of delivered names of one registry. A ConfigMap without the registry's labels has another purpose.

    Args:
        api_server: The adapter of the API server, as a user that may get and patch the ConfigMap.
        retries: The retry policy.
        pod: The registry's Pod, which belongs to a StatefulSet.

    Attributes:
        name: The name of the ConfigMap.

    Raises:
        InputError: The Pod does not belong to a StatefulSet.
    """

    def __init__(self, api_server: ApiServerAdapter, retries: Retries, pod: PodSettings) -> None:
        stateful_set = stateful_set_of(pod.name)
        if not stateful_set:
            raise InputError(
                f"the registry in Pod {pod.namespace}/{pod.name} has no list of delivered names, because the Pod does"
                " not belong to a StatefulSet",
                "Set registry to the Pod of a StatefulSet, such as k8scr-0, or run the role registry with"
                " registry_kind: StatefulSet",
            )
        self.name = f"{stateful_set}-delivered"
        self.description = f"the ConfigMap {self.name} in namespace {pod.namespace}"
        self._api_server = api_server
        self._retries = retries
        self._folder = f"/api/v1/namespaces/{pod.namespace}/configmaps"
        self._path = f"{self._folder}/{self.name}"
        self._labels = {"app.kubernetes.io/name": "registry", "app.kubernetes.io/instance": stateful_set}

    def read(self) -> frozenset[Name] | None:
        """Return the names; ``None`` if the list does not exist.

        Raises:
            ApiServerError: The user may not read the ConfigMap, or the API server returned another error response.
            ClusterError: The API server cannot be reached.
        """
        found = self._retries.run(f"read {self.description}", self._get)
        return _names_in(found) if found is not None else None

    def change(
        self, select: Callable[[frozenset[Name]], tuple[Collection[Name], Collection[Name]]], check_mode: bool = False
    ) -> NamesChange | None:
        """Add and remove names, and return the change; ``None`` if the list does not exist.

        If another client changes the list at the same time, it is read again. Names of repositories that are too long
        for a key are not added.

        Args:
            select: Returns the names to add and those to remove, from the names in the list.

        Raises:
            ApiServerError: The user may not change the ConfigMap, it would become too large, or the API server
                returned another error response.
            ClusterError: The API server cannot be reached.
        """
        return self._retries.run(f"change {self.description}", partial(self._change, select, check_mode))

    def create(self) -> bool:
        """Create an empty list if none exists, and return whether it was created.

        Raises:
            InputError: A ConfigMap of this name has another purpose.
            ApiServerError: The API server returned an error response.
            ClusterError: The API server cannot be reached.
        """
        if self.exists():
            return False
        value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name, "labels": self._labels}}
        return self._retries.run(f"create {self.description}", partial(self._write, "POST", self._folder, value))

    def delete(self) -> bool:
        """Delete the list if it exists, and return whether it was deleted.

        Raises:
            InputError: A ConfigMap of this name has another purpose.
            ApiServerError: The API server returned an error response.
            ClusterError: The API server cannot be reached.
        """
        if not self.exists():
            return False
        return self._retries.run(f"delete {self.description}", partial(self._write, "DELETE", self._path, None))

    def exists(self) -> bool:
        """Return whether the list exists.

        Raises:
            InputError: A ConfigMap of this name has another purpose.
            ApiServerError: The API server returned an error response.
            ClusterError: The API server cannot be reached.
        """
        found = self._retries.run(f"read {self.description}", self._get_any)
        if found is not None and not self._is_list(found):
            labels = ", ".join(f"{name}={value}" for name, value in self._labels.items())
            raise InputError(
                f"{self.description} is not the list of delivered names: it does not have the labels {labels}",
                "Rename it, or add the labels if it may be overwritten",
            )
        return found is not None

    def _get_any(self) -> dict[str, Any] | None:
        return self._api_server.read_object(self._path, self.description)

    def _get(self) -> dict[str, Any] | None:
        found = self._get_any()
        return found if found is not None and self._is_list(found) else None

    def _is_list(self, found: Mapping[str, Any]) -> bool:
        return self._labels.items() <= json_object(json_object(found.get("metadata")).get("labels")).items()

    def _change(
        self, select: Callable[[frozenset[Name]], tuple[Collection[Name], Collection[Name]]], check_mode: bool
    ) -> NamesChange | None:
        found = self._get()
        if found is None:
            return None
        before = _names_in(found)
        added, removed = select(before)
        after = (before | {name for name in added if has_key(name[0])}) - frozenset(removed)
        change = NamesChange(self.name, before, after)
        if not change.changed or check_mode:
            return change
        value = {
            # Without the version, the patch would overwrite the changes of other clients.
            "metadata": {"resourceVersion": str(json_object(found.get("metadata")).get("resourceVersion"))},
            "data": _changed_data(before, after),
        }
        return change if self._write("PATCH", self._path, value) else None

    def _write(self, method: str, path: str, value: Mapping[str, Any] | None) -> bool:
        """Send a request, and return whether it changed the ConfigMap.

        It does not exist for a change, or the request for its creation or deletion was repeated.
        """
        try:
            self._api_server.write_object(method, f"{path}?fieldManager=k8scr", self.description, value)
        except ApiServerError as error:
            if error.status == _NOT_FOUND and method != "POST":
                return False
            if error.status == _CONFLICT:
                if method == "POST":
                    return False
                raise error.replace(retry=Retry()) from error
            if _TOO_LARGE.search(error.message):
                raise error.replace(
                    advice="A ConfigMap has up to 1 MiB, about 12,000 images: prune the registry, or set"
                    " image_policy_only_delivered of the role image_policy to false and delete the list with"
                    " k8scr_delivered_names"
                ) from error
            raise
        return True


def has_key(repository: str) -> bool:
    """Return whether the list can contain a repository, whose name may be too long for a key."""
    return len(_key_of(repository)) <= _LONGEST_KEY


def _key_of(repository: str) -> str:
    return repository.replace("/", _SLASH)


def _names_in(found: Mapping[str, Any]) -> frozenset[Name]:
    """Return the names in a ConfigMap. Administrators may have edited it, so its values may be any texts."""
    repositories = {key.replace(_SLASH, "/"): value for key, value in json_object(found.get("data")).items()}
    return frozenset(
        (repository, reference)
        for repository, value in repositories.items()
        if is_repository(repository)
        for reference in str(value).split()
    )


def _changed_data(before: frozenset[Name], after: frozenset[Name]) -> dict[str, str | None]:
    """Return the changed keys with their values; ``None`` to delete a key."""
    references: dict[str, list[str]] = defaultdict(list)
    for repository, reference in after:
        references[repository].append(reference)
    changed = {repository for repository, _reference in before ^ after}
    return {_key_of(each): " ".join(sorted(references[each])) or None for each in sorted(changed)}


def _lines(names: Iterable[Name]) -> str:
    return "".join(f"{line}\n" for line in sorted(target_name(*name) for name in names))
