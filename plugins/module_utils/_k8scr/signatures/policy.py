# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies: the signature that an image must have, by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Protocol

from ..errors import InputError
from ..oci.reference import Reference, parse_reference
from .signature import Signature

_WILDCARD = re.compile(r"[*?[]")
_NEVER = re.compile("[^!-~]")
"""Characters that names never have, such as spaces."""


class Requirement(Protocol):
    """The signatures that a policy accepts; its text completes "the policy requires".

    Attributes:
        by: The option that sets it, for results.
    """

    by: str

    def verify(self, signature: Signature, manifest: Callable[[], bytes]) -> None:
        """Check a signature of an image.

        Args:
            signature: A signature whose signed content names the image's digest.
            manifest: Returns the content of the image's manifest or index.

        Raises:
            InvalidSignatureError: The signature is not accepted; the message is the reason.
            K8scrError: It cannot be checked.
        """


@dataclass(frozen=True, eq=False)
class Policy:
    """One entry of the option ``verify``.

    Attributes:
        match: A shell pattern of names.
        requirement: The signature that an image must have; ``None`` to allow unsigned images.
    """

    match: str
    requirement: Requirement | None

    def matches(self, name: Reference) -> bool:
        """Whether the pattern matches a name, with or without its tag; a digest in the name is ignored."""
        # Registries do not distinguish case in hosts.
        hosts = dict.fromkeys((name.host, name.host.lower()))
        texts = (replace(name, host=host, tag=tag, digest=None) for host in hosts for tag in (name.tag, None))
        return any(fnmatchcase(str(text), self.match) for text in texts)

    def require_complete_name(self) -> None:
        """Check that the pattern can match a name: one without effect would leave its images to a later policy.

        Raises:
            InputError: It matches no complete name.
        """
        if self._can_match:
            return
        raise InputError(
            f"match {self.match!r:.200} matches no name, because names are complete",
            "Write the registry too, as in docker.io/library/busybox and registry.example.com/team/*",
        )

    @property
    def _can_match(self) -> bool:
        """Whether the pattern matches any complete name, as far as its beginning without wildcards tells."""
        literal = _WILDCARD.split(self.match, maxsplit=1)[0]
        host, slash, _path = literal.partition("/")
        is_name = literal == self.match
        if _NEVER.search(self.match):
            return False
        if not slash and not is_name:
            return True
        try:
            name = parse_reference(literal if is_name else f"{host}/any/any")
        except InputError:
            return False
        return self.matches(name) if is_name else name.host == host


def find_policy(policies: Sequence[Policy], name: Reference) -> Policy:
    """Return the first policy that matches a name.

    Raises:
        InputError: No policy matches.
    """
    for policy in policies:
        if policy.matches(name):
            return policy
    raise InputError(
        f"no policy of verify matches {name}",
        'Add a policy for it; match: "*" with allow: unsigned accepts all other images without a signature',
    )
