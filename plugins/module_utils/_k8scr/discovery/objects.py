# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the images of the objects in a document: templates of Pods, custom resources, and guesses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ..errors import InputError
from ..objects.pod_images import CONTAINERS, images_of
from ..oci.json_object import json_object, json_objects
from .collection import Discovery, How, Origin
from .custom_resources import PATTERNS, RUNTIME_EXPRESSIONS, ResourcePaths, default_image, group_of
from .embedded import embedded_documents
from .guessed_names import is_image_key, is_image_name, joined_names, names_in, shared_parts

_MOST_VALUES = 1_000_000
"""The values of a document that are searched; the API server accepts about 100,000 in one object."""
_RELATED_IMAGE = "RELATED_IMAGE_"
"""The prefix of the variables with which the Operator Lifecycle Manager gives images to operators."""
_CHARACTERS = 100
"""The characters of a text that count as one value."""
_MOST_LEVELS = 2
"""The levels of texts in texts that are read."""
_LONGEST_KEY = 100
"""Characters of each key in a path."""
_INJECTED = "inject.istio.io/templates"
_HOOK = "helm.sh/hook"
_TEST_HOOKS = ("test", "test-success", "test-failure")
# Secrets have no names of images that users may see. The schemas in definitions of custom resources have examples.
_UNSEARCHED = ("Secret", "CustomResourceDefinition")
_COPIES = ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")
"""Fields and annotations that repeat an object, or state an earlier one."""
_Path = Optional[tuple[Any, Any]]


@dataclass(frozen=True)
class Context:
    """What the search of a text needs to know.

    Attributes:
        line_of: Returns the line of a name, for messages.
        skip_test_hooks: Whether the Pods of Helm's tests are skipped, which only ``helm test`` creates.
    """

    discovery: Discovery
    paths: ResourcePaths
    how: How = How.MANIFEST
    line_of: Callable[[str], int] | None = None
    skip_test_hooks: bool = False


def find_in_document(value: Any, origin: Origin, context: Context) -> None:
    """Add the images of all objects in a document.

    Args:
        value: The document, with types of JSON only.
        origin: The document.

    Raises:
        InputError: The document has too many values or names.
    """
    budget = _Budget(origin)
    for item, path, kind in _objects(value, "", "", budget):
        metadata = json_object(item.get("metadata"))
        namespace, name = (str(metadata.get(key) or "") for key in ("namespace", "name"))
        of_object = origin.within(kind, namespace, name, path)
        hook = json_object(metadata.get("annotations")).get(_HOOK)
        if context.skip_test_hooks and any(part.strip() in _TEST_HOOKS for part in str(hook or "").split(",")):
            context.discovery.skip(of_object, "only helm test creates it")
        elif kind not in _UNSEARCHED:
            _Search(item, of_object, context, budget).run()


class _Budget:
    """Counts the searched values of a document. Aliases of YAML repeat values without repeating text."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._left = _MOST_VALUES

    def use(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            document = f"document {self._origin.document} of {self._origin.file or 'the input'}"
            raise InputError(f"{document} has more than {_MOST_VALUES} values")


def _objects(value: Any, path: str, kind: str, budget: _Budget) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Yield the objects in a document, each with its path and its kind; lists are replaced by their items.

    Args:
        kind: The kind of an object that does not state one: that of its list.
    """
    if isinstance(value, list):
        budget.use(len(value))
        for number, item in enumerate(value):
            yield from _objects(item, f"{path}[{number}]", kind, budget)
    elif isinstance(value, Mapping):
        stated = str(value.get("kind") or kind)
        items = value.get("items")
        is_list = stated.endswith("List") or not stated
        if is_list and isinstance(items, list):
            yield from _objects(items, f"{path}.items" if path else "items", stated[:-4], budget)
        else:
            yield value, path, stated


class _Search:
    """The search of one object, or of a document in one of its texts.

    Args:
        level: The number of texts around the document; 0 for an object.
        known: The guesses of the texts around it.
    """

    def __init__(
        self,
        item: Mapping[str, Any],
        origin: Origin,
        context: Context,
        budget: _Budget,
        level: int = 0,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self._item = item
        self._origin = origin
        self._context = context
        self._budget = budget
        self._level = level
        self._known = known
        self._shared: Mapping[str, Any] = {}

    def run(self) -> None:
        # The search counts the values, which bounds those at the paths.
        self._search(self._item, None, "")
        for path, text in self._context.paths.texts(self._item, self._origin.kind):
            self._found(text, path)
        default = default_image(self._item, self._origin.kind)
        if default:
            self._guess(default, ((None, "spec"), "version"))

    def _search(self, value: Any, path: _Path, key: str) -> None:
        """Search a value.

        Args:
            path: The path of the value: the path of its parent, and its key or index.
            key: The name of the field or the variable.
        """
        if isinstance(value, str):
            self._search_text(value, path, key)
        elif isinstance(value, list):
            self._budget.use(len(value))
            flag = ""
            for number, item in enumerate(value):
                if item and isinstance(item, (str, list, dict)):
                    self._search(item, (path, number), flag or key)
                flag = item if isinstance(item, str) and item.startswith("-") else ""
        elif isinstance(value, dict):
            self._budget.use(len(value))
            self._search_object(value, path, key)

    def _search_text(self, text: str, path: _Path, key: str) -> None:
        self._budget.use(len(text) // _CHARACTERS)
        names = list(names_in(text, key))
        for name in names:
            self._guess(name, path)
        if is_image_key(key) and is_image_name(text):
            self._guess(text, path)
        for document in embedded_documents(text) if self._level < _MOST_LEVELS else ():
            origin, known = self._at(_text_of(path, "")), self._known.union(names)
            inner = _Search(self._item, origin, self._context, self._budget, self._level + 1, known)
            inner._search(document, None, "")

    def _search_object(self, value: Mapping[str, Any], path: _Path, key: str) -> None:
        related = value.get("relatedImages")
        for number, entry in enumerate(related if isinstance(related, list) else ()):
            text = json_object(entry).get("image")
            if isinstance(text, str) and text:
                self._found(text, _text_of(path, f"relatedImages[{number}].image"))
        name, text = value.get("name"), value.get("value")
        variable = name if isinstance(name, str) and isinstance(text, str) else ""
        if variable.startswith(_RELATED_IMAGE) and text:
            self._found(str(text), _text_of(path, "value"))
        sections = [section for section in CONTAINERS if _has_images(value.get(section))]
        if sections or _has_image_volumes(value.get("volumes")):
            for image in images_of(value, {}):
                self._found(image.image, _text_of(path, image.path))
        skipped = set(_COPIES)
        for joined, fields in joined_names(value, key, self._shared):
            self._guess(joined, path)
            skipped |= fields
        outer = self._shared
        self._shared = shared_parts(value) or outer
        for field, item in value.items():
            if field in sections:
                self._search_containers(item, (path, field))
            elif field not in skipped:
                self._search(item, (path, field), variable if field == "value" and variable else field)
        self._shared = outer

    def _search_containers(self, containers: Any, path: _Path) -> None:
        """Search the other fields of containers, such as arguments and variables."""
        self._budget.use(len(containers))
        for number, container in enumerate(containers):
            if isinstance(container, Mapping):
                rest = {key: item for key, item in container.items() if key != "image"}
                self._search(rest, (path, number), "")

    def _found(self, text: str, path: str) -> None:
        origin = self._at(path)
        annotations = json_object(json_object(self._item.get("metadata")).get("annotations"))
        template = json_object(json_object(self._item.get("spec")).get("template"))
        of_pods = json_object(json_object(template.get("metadata")).get("annotations"))
        if text in self._known:
            return
        if text == "auto" and _INJECTED in (*annotations, *of_pods):
            self._context.discovery.skip(origin, "Istio replaces the image auto when it creates the Pod")
        elif self._level or group_of(self._item) in PATTERNS:
            self._context.discovery.add_guess(text, origin)
        elif ("{{" in text or "$(" in text) and group_of(self._item) in RUNTIME_EXPRESSIONS:
            self._context.discovery.skip(origin, "its controller computes the image when it runs")
        else:
            self._context.discovery.add(text, origin, self._context.how, self._context.line_of)

    def _guess(self, text: str, path: _Path) -> None:
        if text not in self._known:
            self._context.discovery.add_guess(text, self._at(_text_of(path, "")))

    def _at(self, path: str) -> Origin:
        """Return the origin of a path in the object."""
        return self._origin.at(path)


def _has_images(containers: object) -> bool:
    return any(isinstance(container.get("image"), str) for container in json_objects(containers))


def _has_image_volumes(volumes: object) -> bool:
    return any(isinstance(json_object(volume.get("image")).get("reference"), str) for volume in json_objects(volumes))


def _text_of(path: _Path, last: str) -> str:
    """Return a path as text, followed by the path of a field in the value."""
    steps: list[str] = [last] if last else []
    while path:
        path, key = path
        steps.append(f"[{key}]" if isinstance(key, int) else key[:_LONGEST_KEY])
    steps.reverse()
    return "".join(step if step.startswith("[") or not number else f".{step}" for number, step in enumerate(steps))
