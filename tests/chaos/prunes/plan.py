# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random plan of a prune, which depends only on the seed and the prune's number."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from images.sizes import KIB

from ..faults import PRUNE_FAULTS
from ..faults.base import Fault
from ..faults.disk import RegistryDiskFull
from ..sources import Layer
from ..testbed import DIRECT
from .pool import HOST, Content, Entry, Image, shared_layers

CONCURRENT_REPOSITORY = "chaos/concurrent"
"""Repository of the images that are pushed during prunes; all rules keep it."""
_SLOTS = 4
_DISK_FULL_RATE = 0.1
_ORPHAN_RATE = 0.02


class Phase(Enum):
    """Phase of a prune in which something happens."""

    START = "start"
    DELETION = "deletion"
    COLLECTION = "collection"


class Protection(Enum):
    """The rule that keeps an image, or none."""

    TAG_USED = "tag used"
    DIGEST_USED = "digest used"
    LOCKED = "locked"
    NONE = "none"


@dataclass(frozen=True)
class Moment:
    """A moment of a prune.

    Attributes:
        phase: The phase.
        delay: Seconds after the beginning of the phase.
    """

    phase: Phase
    delay: float


@dataclass(frozen=True)
class Push:
    """A push during a prune."""

    moment: Moment
    entries: tuple[Entry, ...]
    mount_from: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Plan of one prune.

    Attributes:
        number: Number of the prune.
        latest: Number of the image that the tag ``latest`` of each repository refers to before the prune.
        patterns: Patterns of the repositories that are kept whole.
        protections: The rule that keeps each image of the other repositories, by number of the image.
        latest_used: Repositories whose tag ``latest`` is used.
        last: Number of newest versions to keep in each repository; 0 if the rule is not set.
        orphaned: Numbers of images that are deleted before the prune, so that only their referrers remain.
        pushes: Pushes during the prune.
        faults: Faults during the prune.
        disk_full: Fault before the prune, if its disk is full.
        connection: Connection to the API server.
    """

    number: int
    latest: Mapping[str, int]
    patterns: tuple[str, ...]
    protections: Mapping[int, Protection]
    latest_used: frozenset[str]
    last: int
    orphaned: frozenset[int]
    pushes: tuple[Push, ...]
    faults: tuple[tuple[Moment, Fault], ...]
    disk_full: RegistryDiskFull | None
    connection: str

    @property
    def undisturbed(self) -> bool:
        """Whether nothing else happens during the prune, so that no garbage remains."""
        return not self.pushes and not self.faults


def draw_plan(seed: int, number: int, images: Sequence[Image]) -> Plan:
    """Draw the plan of a prune.

    Args:
        seed: Seed of the campaign.
        number: Number of the prune.
        images: The images of the campaign.
    """
    draw = random.Random(f"{seed}/prune/{number}")  # noqa: S311 - nothing secret
    repositories = sorted({image.repository for image in images})
    by_repository = {name: [image for image in images if image.repository == name] for name in repositories}
    latest = {name: draw.choice(by_repository[name]).number for name in repositories}
    whole = draw.sample(repositories, len(repositories) // 2)
    rest = [image for image in images if image.repository not in whole]
    protections = {image.number: _draw_protection(draw, image) for image in rest}
    latest_used = frozenset(name for name in repositories if draw.random() < 0.2)
    last = draw.choices([0, 1, 2], [8, 1, 1])[0]
    subjects = [image.number for image in images if image.content.has_referrer]
    orphaned = frozenset(number for number in subjects if draw.random() < _ORPHAN_RATE)
    disk_full = RegistryDiskFull(draw) if draw.random() < _DISK_FULL_RATE else None
    faults, connection = _draw_faults(draw)
    # A push cannot succeed while the disk is full.
    pushes = () if disk_full else tuple(_draw_pushes(draw, seed, number, images))
    patterns = (CONCURRENT_REPOSITORY, *sorted(whole))
    return Plan(
        number, latest, patterns, protections, latest_used, last, orphaned, pushes, faults, disk_full, connection
    )


def clean_plan(plan: Plan) -> Plan:
    """Return the plan of a prune with the same images and rules, during which nothing else happens."""
    return replace(plan, pushes=(), faults=(), disk_full=None, connection=DIRECT)


def _draw_protection(draw: random.Random, image: Image) -> Protection:
    if not image.tags:
        return draw.choice([Protection.DIGEST_USED, Protection.LOCKED, Protection.NONE])
    return draw.choices(list(Protection), [3, 2, 2, 3])[0]


def _draw_faults(draw: random.Random) -> tuple[tuple[tuple[Moment, Fault], ...], str]:
    count = draw.choices(range(3), [1, 2, 1])[0]
    faults: list[tuple[Moment, Fault]] = []
    connection = DIRECT
    for kind in draw.sample(PRUNE_FAULTS, len(PRUNE_FAULTS)):
        if len(faults) == count:
            break
        fault = kind(draw)
        # All faults of a prune share one connection to the API server.
        if DIRECT not in (connection, fault.connection) and connection != fault.connection:
            continue
        connection = fault.connection if connection == DIRECT else connection
        faults.append((_draw_moment(draw), fault))
    return tuple(faults), connection


def _draw_pushes(draw: random.Random, seed: int, number: int, images: Sequence[Image]) -> list[Push]:
    """Draw pushes of images that share layers with each other and with images that the prune may delete."""
    shared = shared_layers(seed)
    pushes = []
    for index in range(draw.choices(range(4), [3, 3, 2, 1])[0]):
        other = draw.choice(images)
        own = Layer(f"{seed}/concurrent/{number}/{index}", draw.randrange(1, 512 * KIB))
        content = Content((*draw.sample(shared, 2), *other.content.layers[-1:], own))
        name = f"{HOST}/{CONCURRENT_REPOSITORY}:{draw.randrange(_SLOTS)}"
        mount_from = (other.repository,) if draw.random() < 0.5 else ()
        pushes.append(Push(_draw_moment(draw), (Entry(name, content),), mount_from))
    return pushes


def _draw_moment(draw: random.Random) -> Moment:
    phase = draw.choices(list(Phase), [3, 2, 6])[0]
    return Moment(phase, draw.uniform(0, {Phase.START: 1, Phase.DELETION: 0.3, Phase.COLLECTION: 2.5}[phase]))
