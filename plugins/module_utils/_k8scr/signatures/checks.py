# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check images by the policies of the option ``verify``, before they are copied."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ..errors import K8scrError, SourceError
from ..oci.interfaces import ImageSource, Referrers, SourceImage
from ..oci.reference import Reference
from .find import Signatures
from .policy import Policy, Requirement, find_policy
from .signature import InvalidSignatureError, Signature

_SHOWN_REASONS = 3
_MOST_CHILDREN = 10
"""Manifests of an index that are looked up to explain an error."""


@dataclass(frozen=True)
class Verified:
    """An image with a verified signature.

    Attributes:
        policy: The policy that decided.
        digest: The digest of the verified manifest or index: the one that the source has for the image's name.
        signature: Where the source has the signature.
    """

    policy: Policy
    digest: str
    signature: str

    def to_result(self) -> dict[str, str]:
        """Return the entry of the image's result."""
        by = self.policy.requirement.by if self.policy.requirement else ""
        return {"match": self.policy.match, "by": by, "digest": self.digest, "signature": self.signature}


class SignatureChecks:
    """Checks images, each digest of a source once for each policy; several threads may call it.

    Args:
        policies: The policies; the first that matches an image's name decides.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._results: dict[tuple[Policy, str, str], Future[Verified]] = {}
        self._lock = threading.Lock()

    def check(self, source: ImageSource, image: SourceImage, name: Reference) -> Verified | None:
        """Check an image, and return the result; ``None`` if the policy allows unsigned images.

        Args:
            source: The source with all platforms and signatures.
            image: The image as the source has it, before platforms are selected.
            name: The image's name for the policies.

        Raises:
            InputError: No policy matches, or a required program is missing.
            SourceError: The image has no signature that the policy accepts.
            K8scrError: The source cannot be read.
        """
        policy = find_policy(self._policies, name)
        if policy.requirement is None:
            return None
        key = (policy, image.root.digest, source.description)
        with self._lock:
            future = self._results.get(key)
            first = future is None
            future = future or self._results.setdefault(key, Future())
        if first:
            try:
                future.set_result(_check(source, image, policy, policy.requirement))
            except K8scrError as error:
                future.set_exception(error)
            finally:
                # After an unexpected error, other threads must not wait.
                future.cancel()
        return future.result()


def _check(source: ImageSource, image: SourceImage, policy: Policy, requirement: Requirement) -> Verified:
    digest, referrers = image.root.digest, source.referrers
    required = f"the policy {policy.match!r:.200} of verify requires {requirement}"
    if referrers is None:
        raise SourceError(
            f"{source.description} cannot store signatures, and {required}",
            "Use docker://, oci: or oci-archive: as the source, or set allow: unsigned for this image",
        )
    found = Signatures(source, referrers, digest)
    for signature in found.find():
        reason = _rejection(signature, requirement, source, image)
        if reason is None:
            return Verified(policy, digest, signature.origin)
        found.rejected.append(f"{signature.origin}: {reason}")
    where = f"{digest} in {source.description}"
    if found.rejected:
        rejected = list(dict.fromkeys(found.rejected))
        more = f"; and {len(rejected) - _SHOWN_REASONS} more" if len(rejected) > _SHOWN_REASONS else ""
        reasons = "; ".join(rejected[:_SHOWN_REASONS])
        raise SourceError(f"no signature of {where} can be accepted: {required} ({reasons}{more})")
    raise SourceError(
        f"{where} is not signed: {required}{_hint(source, image, referrers, found)}",
        "Sign it, for example with cosign sign",
    )


def _rejection(signature: Signature, requirement: Requirement, source: ImageSource, image: SourceImage) -> str | None:
    """Return the reason why a signature is not accepted; ``None`` if it is."""
    if image.root.digest not in signature.digests:
        named = ", ".join(sorted(signature.digests)) or "no digest"
        return f"it is a signature of another image ({named:.200})"
    try:
        requirement.verify(signature, lambda: source.fetch_manifest(image.root).content)
    except InvalidSignatureError as error:
        return error.message
    return None


def _hint(source: ImageSource, image: SourceImage, referrers: Referrers, found: Signatures) -> str:
    """Return what else is known about the signatures of an unsigned image."""
    if found.notation:
        return " (it has a signature of notation; only signatures of cosign are verified)"
    try:
        for child in source.fetch_manifest(image.root).manifests[:_MOST_CHILDREN]:
            if next(Signatures(source, referrers, child.digest).find(), None):
                return f" (its manifest {child.digest} has a signature, but the index itself has none)"
    except K8scrError:
        # The error about the missing signature stays.
        pass
    return ""
