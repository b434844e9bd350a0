# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep a registry's list of delivered names true while images are pushed, copied and deleted.

Clients do not lock the list. A push publishes images before it adds their names. A client that deletes images removes
the names first. After the deletion, it looks up in the registry which of them exist, and which of the names that were
added meanwhile, because another client may have pushed such an image. So the list agrees with the registry after all
clients are done, with one exception: a digest whose tag a push moved during a garbage collection. The next prune
removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ApiServerError, K8scrError
from ..oci.digest_tag import is_digest_tag
from ..registry.delivered_names import DeliveredNames, Name, NamesChange, has_key
from ..registry.inventory import Verify, subject_of
from ..registry.inventory_reader import take_inventory

if TYPE_CHECKING:
    from ..registry.client import Registry
    from .report import ImageResult

_FORBIDDEN = 403


@dataclass
class Listing:
    """What the end of a task reports about the list.

    Attributes:
        failures: Lines of the message, with which the task fails.
        diffs: The changes, as ``--diff`` shows them.
    """

    failures: list[str] = field(default_factory=list)
    diffs: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Withdrawal:
    """The list when names were removed from it.

    Attributes:
        names: The removed names.
        kept: The other names; ``None`` if the list does not exist.
    """

    names: frozenset[Name] = frozenset()
    kept: frozenset[Name] | None = None


@dataclass(frozen=True)
class DeliveredImages:
    """The images of a registry, and their list.

    Attributes:
        connections: The maximum number of concurrent requests.
        is_of_role: Whether the role ``registry`` deployed the registry, so that its Roles allow changes of the list.
        warn: Shows a warning to the user.
    """

    names: DeliveredNames
    registry: Registry
    connections: int
    is_of_role: Callable[[], bool] = lambda: False
    warn: Callable[[str], None] = lambda _text: None

    def add(self, results: Iterable[ImageResult], check_mode: bool) -> Listing:
        """Add the images of a copy to the list, if it exists. Errors become a part of the result."""
        names, listing = frozenset(_names_of(results)), Listing()
        if not names:
            return listing
        try:
            change = self._change(lambda _listed: (names, ()), check_mode)
        except K8scrError as error:
            listing.failures.append(f"The images are not in the list of delivered names: {error}")
            return listing
        if change:
            self._warn_about_long({repository for repository, _reference in names})
            listing.diffs += [change.diff] if change.changed else []
        return listing

    def withdraw(self, select: Callable[[Name], bool]) -> Withdrawal:
        """Remove names before their images are deleted.

        Args:
            select: Whether to remove a name of the list.

        Raises:
            K8scrError: The list cannot be changed, so no image should be deleted.
        """
        names: set[Name] = set()

        def remove(listed: frozenset[Name]) -> tuple[Sequence[Name], set[Name]]:
            # An attempt whose response was lost may have removed the names, so that the next one does not find them.
            names.update(filter(select, listed))
            return (), names

        change = self._change(remove)
        return Withdrawal(frozenset(names), change.after) if change else Withdrawal()

    def settle(self, withdrawal: Withdrawal) -> frozenset[Name]:
        """Add each removed name whose image exists, and return the others. Check names that were added meanwhile too.

        Raises:
            K8scrError: The list cannot be changed, or the registry cannot be reached.
        """
        if withdrawal.kept is None:
            return frozenset()
        names = withdrawal.names | ((self.names.read() or frozenset()) - withdrawal.kept)
        if not names:
            return names
        missing = self._missing(names)
        self._change(lambda listed: (names - missing, missing & listed))
        # An image that was pushed before the last change is not added by its push if its name was still in the list.
        pushed = missing - self._missing(missing) if missing else missing
        if pushed:
            self._change(lambda _listed: (pushed, ()))
        return (missing - pushed) & withdrawal.names

    def list_all(self, check_mode: bool) -> NamesChange:
        """Make the list agree with the registry, and return the change. In check mode, the list may not exist yet.

        Raises:
            K8scrError: The list cannot be changed, the registry cannot be reached or does not list its images.
        """
        inventory = take_inventory(self.registry, self.connections, verify=Verify.NONE)
        found: set[Name] = set()
        for image in inventory.images:
            tags = [tag for tag in image.tags if not subject_of(tag)]
            if tags:
                found.add((image.repository, image.root.digest))
            found.update((image.repository, tag) for tag in tags if not is_digest_tag(tag, image.root.digest))
        self._warn_about_long({repository for repository, _reference in found})
        unreadable = [each.error.message for each in inventory.unreadable]
        if unreadable:
            self.warn(
                f"Images that cannot be read are not added to the list of delivered names ({len(unreadable)}):"
                f" {unreadable[0]}."
            )
        others = (self.names.read() or frozenset()) - found
        missing = self._missing(others) if others else others
        change = self.names.change(lambda listed: (found, missing & listed), check_mode)
        if not check_mode:
            self.settle(Withdrawal(missing, others | found))
        return change or NamesChange(self.names.name, frozenset(), frozenset(filter(_is_short, found)))

    def _missing(self, names: frozenset[Name]) -> frozenset[Name]:
        """Return the names whose images the registry does not have. Images that it cannot read exist."""
        inventory = take_inventory(
            self.registry, self.connections, repositories=(), references=sorted(names), verify=Verify.NONE
        )
        return frozenset(inventory.absent)

    def _change(self, select: Callable[[frozenset[Name]], Any], check_mode: bool = False) -> NamesChange | None:
        """Change the list if the user may change it.

        If not, warn if the list exists, or if it may exist, because the role ``registry`` deployed the registry.
        """
        exists = False

        def note(listed: frozenset[Name]) -> Any:
            nonlocal exists
            exists = True
            return select(listed)

        try:
            return self.names.change(note, check_mode)
        except ApiServerError as error:
            if error.status != _FORBIDDEN:
                raise
            if exists or self.is_of_role():
                self.warn(
                    f"The list of delivered names is not updated: {error.message}. Run the role registry again: its"
                    f" Roles for pushing and pruning allow get and patch on {self.names.description}. Without the role"
                    " image_policy, the list is not used."
                )
            return None

    def _warn_about_long(self, repositories: Iterable[str]) -> None:
        for repository in sorted(each for each in repositories if not has_key(each)):
            self.warn(
                f"The repository {repository} is too long for the list of delivered names, so the role image_policy"
                " does not rewrite the names of its images."
            )


def _is_short(name: Name) -> bool:
    return has_key(name[0])


def _names_of(results: Iterable[ImageResult]) -> Iterator[Name]:
    """Yield the names of the images that a copy stored or found, without those of referrers."""
    for result in results:
        copy = result.plan.job.copy
        if copy and not result.error and not result.plan.job.subject:
            # In check mode, the digest of an image is unknown before its layers are compressed.
            yield from ((copy.destination.repository, each) for each in (copy.tag, result.root) if each)
