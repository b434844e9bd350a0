# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the images in the text of manifests and compose files."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..files.yaml_text import json_value, read_documents
from .collection import Discovery, How, Origin
from .compose import find_in_compose, is_compose
from .custom_resources import ResourcePaths
from .objects import Context, find_in_document

MAXIMUM_SIZE = 16 << 20
"""The bytes of a file or of a rendered chart. A value needs up to 60 bytes of memory for each byte of text."""
NO_OBJECT = "it is a text or a number, not an object"
"""Why a document is not searched."""
_SOURCE = "# Source: "
"""The comment with which Helm begins each document, followed by the path of the template."""


def find_in_text(
    content: str | bytes, origin: Origin, discovery: Discovery, paths: ResourcePaths, how: How = How.MANIFEST
) -> None:
    """Add the images in a YAML or JSON text with any number of documents.

    A text that cannot be read is a problem of ``discovery``.

    Args:
        origin: The file, or the chart that Helm rendered to the text.
    """
    name = origin.file or (f"the rendered chart {origin.chart}" if origin.chart else "the text")
    size = len(content)
    try:
        if size > MAXIMUM_SIZE:
            raise InputError(f"{name} has more than {MAXIMUM_SIZE >> 20} MiB", "Split it into several files")
        documents = read_documents(content, name)
    except InputError as error:
        braces: Any = "{{" if isinstance(content, str) else b"{{"
        advice = "If it is a template, render it first; for a chart, use charts"
        discovery.add_problem(error.replace(advice=advice) if braces in content[:MAXIMUM_SIZE] else error)
        return
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    sources = _Sources(text) if how is How.RENDERED else None
    for number, document in enumerate(documents, 1):
        found_in = replace(origin, document=number)
        if sources:
            found_in = replace(found_in, file=sources.template_of(document.line))
        lines = _Lines(text, document.line)
        context = Context(discovery, paths, how, lines.find, skip_test_hooks=how is How.RENDERED)
        _find(document.value, found_in, context)


def find_in_value(value: Any, origin: Origin, discovery: Discovery, paths: ResourcePaths) -> None:
    """Add the images in a document that was read already, or in a list of documents.

    A value that JSON cannot represent is a problem of ``discovery``.
    """
    try:
        documents = json_value(value, "the value")
    except InputError as error:
        discovery.add_problem(error)
        return
    for number, document in enumerate(documents if isinstance(documents, list) else [documents], 1):
        _find(document, replace(origin, document=number), Context(discovery, paths))


def _find(value: Any, origin: Origin, context: Context) -> None:
    try:
        if is_compose(value):
            find_in_compose(value, origin, context)
        elif isinstance(value, (Mapping, list)):
            find_in_document(value, origin, context)
        elif value is not None:
            context.discovery.skip(origin, NO_OBJECT)
    except InputError as error:
        context.discovery.add_problem(error)


class _Lines:
    """Finds the line of a name in a text, from the first line of its document."""

    def __init__(self, text: str, first: int) -> None:
        self._text = text
        self._first = first

    def find(self, name: str) -> int:
        position = 0
        for _line in range(1, self._first):
            position = self._text.find("\n", position) + 1
        found = self._text.find(name, position)
        return self._text.count("\n", 0, found) + 1 if found >= 0 else self._first


class _Sources:
    """The templates of a rendered chart, by the lines of their documents."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self._lines = [number for number, line in enumerate(lines, 1) if line.startswith(_SOURCE)]
        self._names = [lines[number - 1][len(_SOURCE) :].strip() for number in self._lines]

    def template_of(self, line: int) -> str:
        before = bisect(self._lines, line)
        return self._names[before - 1] if before else ""
