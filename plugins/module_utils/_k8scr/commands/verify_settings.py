# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the option ``verify``: the policies that the signatures of images must satisfy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..signatures.policy import Policy, Requirement

VERIFY_ARGUMENT_SPEC: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "options": {
        "match": {"type": "str", "required": True},
        "cosign_key": {"type": "path", "no_log": False},
        "identity": {"type": "str"},
        "issuer": {"type": "str"},
        "trusted_root": {"type": "path"},
        "allow": {"type": "str", "choices": ["unsigned"]},
    },
    "required_one_of": [("cosign_key", "identity", "allow")],
    "mutually_exclusive": [("cosign_key", "identity", "allow")],
    "required_together": [("identity", "issuer", "trusted_root")],
}
"""Argument spec of the option, a list with a dictionary for each policy."""


def verify_policies(options: Sequence[Mapping[str, Any]] | None) -> tuple[Policy, ...] | None:
    """Return the policies; ``None`` if the option is not set, so that signatures are not checked.

    Raises:
        InputError: A policy is invalid, or a file of it cannot be used.
    """
    if options is None:
        return None
    if not options:
        raise InputError("verify has no policy, so that no image is allowed", "Add a policy, or remove the option")
    policies = tuple(_policy(number, option) for number, option in enumerate(options))
    for number, policy in enumerate(policies):
        with _numbered(number):
            policy.require_complete_name()
    return policies


def _policy(number: int, option: Mapping[str, Any]) -> Policy:
    with _numbered(number):
        empty = [name for name in ("match", "cosign_key", "identity", "issuer", "trusted_root") if option[name] == ""]
        if empty:
            raise InputError(f"{empty[0]} is empty")
        return Policy(option["match"], _requirement(option))


@contextmanager
def _numbered(number: int) -> Iterator[None]:
    """Add the position of a policy to errors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"verify[{number}] is not a policy: {error.message}", error.advice) from error


def _requirement(option: Mapping[str, Any]) -> Requirement | None:
    if option["cosign_key"]:
        from ..signatures.public_key import PublicKey

        return PublicKey.load(Path(option["cosign_key"]))
    if option["identity"]:
        from ..signatures.identity import Identity, TrustedRoot

        return Identity(option["identity"], option["issuer"], TrustedRoot.load(Path(option["trusted_root"])))
    return None
