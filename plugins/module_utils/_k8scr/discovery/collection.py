# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that a search found, those that it guessed, and what it could not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from ..errors import InputError
from ..oci.reference import Reference, parse_workload_reference

MOST_IMAGES = 10_000
"""The largest number of different names; large clusters use about a thousand."""
_MOST_ORIGINS = 20
"""The origins of a name that are kept; the others are counted."""
_MOST_CHARACTERS = 16 << 20
"""Characters of the origins of all names together; a large cluster has about two million."""
_LONGEST = 500
"""Characters of each text of an origin; names in Kubernetes have at most 253."""
LONGEST_NAME = 1000
"""Characters of a name that are kept; a valid name has at most 900, and a shortened one is not valid."""
_MOST_SKIPPED = 1000
_MOST_PROBLEMS = 100


class How(Enum):
    """How an image was found. A name that was found in several ways has the first of them."""

    RENDERED = "rendered"
    MANIFEST = "manifest"
    CLUSTER = "cluster"
    ANNOTATION = "annotation"


_ORDER = list(How)


@dataclass(frozen=True)
class Origin:
    """The field of an object that names an image.

    Attributes:
        file: The file as the user wrote it, or the template of a chart; empty for an object of the cluster.
        document: The number of the document in the file, from 1; in the rendered chart for a template.
        chart: The chart as the user wrote it; empty if the object is not part of one.
        kind: The object's kind; empty for other documents.
        path: The path of the field in the document, such as ``spec.template.spec.containers[0].image``.
    """

    file: str = ""
    document: int = 0
    chart: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def within(self, kind: str, namespace: str, name: str, path: str) -> Origin:
        """Return the origin of a field of an object in this document. Long texts are shortened."""
        kind, namespace, name, path = map(_shortened, (kind, namespace, name, path))
        return replace(self, kind=kind, namespace=namespace, name=name, path=path)

    def at(self, path: str) -> Origin:
        """Return the origin of a path below this one. A long path is shortened."""
        joined = f"{self.path}.{path}" if self.path and path else self.path or path
        return replace(self, path=_shortened(joined))

    @property
    def size(self) -> int:
        """The characters of all texts."""
        return sum(map(len, (self.file, self.chart, self.kind, self.namespace, self.name, self.path)))

    def __str__(self) -> str:
        """Return the origin in messages."""
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        file = self.file or (f"the chart {self.chart}" if self.chart else "")
        of_object = f"{self.kind} {name}".strip() if self.kind else ""
        text = " of ".join(part for part in (self.path, of_object) if part)
        of_chart = f" of the chart {self.chart}" if self.chart and self.file else ""
        return f"{text}{f' in {file}{of_chart}' if file else ''}"


@dataclass
class Image:
    """An image, with its origins.

    Attributes:
        count: The number of origins, with those that are not kept.
    """

    name: Reference
    how: How | None
    origins: dict[Origin, None] = field(default_factory=dict)
    count: int = 0

    def add(self, origin: Origin, how: How | None, room: int) -> int:
        """Add an origin, and keep it if there is room.

        Args:
            room: The characters that it can have.

        Returns:
            The characters that it has; 0 if it is not kept.
        """
        if origin in self.origins:
            return 0
        self.count += 1
        if how and self.how and _ORDER.index(how) < _ORDER.index(self.how):
            self.how = how
        if len(self.origins) >= _MOST_ORIGINS or origin.size > room:
            return 0
        self.origins[origin] = None
        return origin.size


@dataclass(frozen=True)
class Skipped:
    """Something that was not searched on purpose, with the reason."""

    origin: Origin
    reason: str


class Discovery:
    """Collects the images of a search.

    Attributes:
        problems: The errors of content that could not be read.
        more_problems: The number of further errors.
    """

    def __init__(self) -> None:
        self.problems: list[InputError] = []
        self.more_problems = 0
        self._skipped: dict[Skipped, None] = {}
        self._found: dict[str, Image] = {}
        self._guesses: dict[str, Image] = {}
        self._room = _MOST_CHARACTERS

    def add(self, text: str, origin: Origin, how: How, line_of: Callable[[str], int] | None = None) -> None:
        """Add an image that an object uses. A name that is not valid is a problem.

        Args:
            line_of: Returns the line of a text in the file.
        """
        try:
            name = parse_workload_reference(_shortened(text, LONGEST_NAME))
        except InputError as error:
            line = f", line {line_of(text)}" if line_of and len(self.problems) < _MOST_PROBLEMS else ""
            self.add_problem(InputError(f"{origin}{line}: {error.message}", _advice(text)))
            return
        self._add(self._found, name, origin, how)

    def add_guess(self, text: str, origin: Origin) -> None:
        """Add a text that may be the name of an image; another text is ignored."""
        try:
            name = parse_workload_reference(text)
        except InputError:
            return
        self._add(self._guesses, name, origin, None)

    def add_problem(self, problem: InputError) -> None:
        """Add an error; after the first hundred, errors are counted."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more_problems += 1

    def skip(self, origin: Origin, reason: str) -> None:
        """Note what is not searched."""
        if len(self._skipped) < _MOST_SKIPPED:
            self._skipped[Skipped(origin, reason)] = None

    @property
    def found(self) -> list[Image]:
        """The images that objects use, sorted by name."""
        return [self._found[name] for name in sorted(self._found)]

    @property
    def guesses(self) -> list[Image]:
        """The other names that may be images, sorted."""
        return [self._guesses[name] for name in sorted(set(self._guesses) - set(self._found))]

    @property
    def skipped(self) -> Iterator[Skipped]:
        """What was not searched on purpose."""
        yield from self._skipped

    def _add(self, images: dict[str, Image], name: Reference, origin: Origin, how: How | None) -> None:
        key = str(name)
        if key not in images:
            if len(images) >= MOST_IMAGES:
                raise InputError(
                    f"{origin.file or 'the input'} has more than {MOST_IMAGES} names of images",
                    "Search a part of it in each of several tasks",
                )
            images[key] = Image(name, how)
        self._room -= images[key].add(origin, how, self._room)


def _shortened(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _advice(text: str) -> str | None:
    if "{{" in text:
        return "Render the template first; for a chart, use charts"
    if "$" in text:
        return "Replace the variable first, for a compose file with: docker compose config"
    return None
