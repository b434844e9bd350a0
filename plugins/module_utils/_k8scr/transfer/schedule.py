# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of the copies of a task: referrers after their subjects, and tags of images after their referrers.

A tag that is set last means that the image and its referrers were copied. After an interrupted task, the next one finds
no tag, and copies the rest. Registries may reject a referrer before its subject.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Dependencies:
    """What the copies of a task depend on, by their positions in the task.

    Attributes:
        parents: The copies that store the subject of a referrer; one of them must precede it.
        owners: The images of a referrer, whose tags are set after it.
        optional: The referrers without which the task succeeds.
    """

    parents: Mapping[int, Set[int]] = field(default_factory=dict)
    owners: Mapping[int, Sequence[int]] = field(default_factory=dict)
    optional: Set[int] = frozenset()

    @cached_property
    def referrers(self) -> Mapping[int, Sequence[int]]:
        """The referrers of each image that has any."""
        found = defaultdict[int, list[int]](list)
        for referrer, images in self.owners.items():
            for image in images:
                found[image].append(referrer)
        return found


class Schedule:
    """The order of the copies, in one thread.

    Args:
        numbers: The positions of the copies.

    Attributes:
        deferred: The images whose tags are set after their referrers were copied.
    """

    def __init__(self, numbers: Sequence[int], dependencies: Dependencies) -> None:
        everything = set(numbers)
        self._owners = {
            number: [owner for owner in dependencies.owners.get(number, ()) if owner in everything]
            for number in numbers
        }
        self._missing: dict[int, set[int]] = {}
        """The referrers of each deferred image that are not copied yet."""
        for number, owners in self._owners.items():
            for owner in owners:
                self._missing.setdefault(owner, set()).add(number)
        self.deferred: Set[int] = frozenset(self._missing)
        self._blocked: dict[int, set[int]] = {}
        self._children: dict[int, list[int]] = {}
        self._waiting = deque[int]()
        for number in numbers:
            parents = dependencies.parents.get(number, frozenset())
            if parents and parents <= everything:
                self._blocked[number] = set(parents)
                for parent in parents:
                    self._children.setdefault(parent, []).append(number)
            else:
                self._waiting.append(number)
        self._stored = set[int]()
        self._to_tag: list[int] = []
        self._dropped: list[int] = []

    @property
    def left(self) -> list[int]:
        """The copies that were not started, and the images without their tags."""
        return [*self._waiting, *self._blocked, *self._stored, *self._to_tag]

    def start(self, is_idle: bool) -> int | None:
        """Return the next copy to start; ``None`` if there is none now.

        Args:
            is_idle: Whether no copy is running. Then a referrer starts even if a hostile source makes it wait for
                itself.
        """
        if not self._waiting and is_idle and self._blocked:
            number = next(iter(self._blocked))
            del self._blocked[number]
            return number
        return self._waiting.popleft() if self._waiting else None

    def stored(self, number: int) -> None:
        """Continue after the manifests of a copy were stored."""
        ready = [child for child in self._children.get(number, ()) if self._blocked.pop(child, None) is not None]
        # Referrers come first: the images that wait for them stay in memory.
        self._waiting.extendleft(reversed(ready))
        if number in self.deferred:
            self._stored.add(number)
            self._offer(number)
        self._end(number)

    def failed(self, number: int) -> None:
        """Continue after a copy failed: referrers whose subject is not stored are dropped."""
        failed = deque([number])
        while failed:
            each = failed.popleft()
            self._end(each)
            for child in self._children.get(each, ()):
                parents = self._blocked.get(child, {each})
                parents.discard(each)
                if not parents and self._blocked.pop(child, None) is not None:
                    self._dropped.append(child)
                    failed.append(child)

    def take_to_tag(self) -> list[int]:
        """Return the images whose tags can be set now, each once."""
        taken, self._to_tag = self._to_tag, []
        return taken

    def take_dropped(self) -> list[int]:
        """Return the dropped referrers, each once."""
        taken, self._dropped = self._dropped, []
        return taken

    def _end(self, number: int) -> None:
        for owner in self._owners[number]:
            self._missing[owner].discard(number)
            self._offer(owner)

    def _offer(self, image: int) -> None:
        if image in self._stored and not self._missing[image]:
            self._stored.remove(image)
            self._to_tag.append(image)
