# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deletion of tags and manifests as registries implement it, for :class:`.registry_server.RegistryServer`."""

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of

from .registry_server import Response, error_response

Manifests = dict[str, tuple[str, bytes]]


def by_entry(manifests: Manifests, reference: str) -> Response:
    """Delete a tag or a digest and nothing else, as go-containerregistry does."""
    if manifests.pop(reference, None) is None:
        return error_response(404, "MANIFEST_UNKNOWN")
    return Response(202)


def by_tag(manifests: Manifests, reference: str) -> Response:
    """Delete a tag, or a digest with its tags, as distribution 3 does."""
    return by_digest(manifests, reference) if ":" in reference else by_entry(manifests, reference)


def by_digest(manifests: Manifests, reference: str) -> Response:
    """Delete a digest with its tags, as distribution 2.8 does."""
    if ":" not in reference:
        return error_response(400, "DIGEST_INVALID")
    if reference not in manifests:
        return error_response(404, "MANIFEST_UNKNOWN")
    for name in [name for name, (_media_type, content) in manifests.items() if digest_of(content) == reference]:
        del manifests[name]
    return Response(202)


def with_digest_of_tag(manifests: Manifests, reference: str) -> Response:
    """Delete the digest of a tag with all its tags, a fault of some registries."""
    if reference not in manifests:
        return error_response(404, "MANIFEST_UNKNOWN")
    return by_digest(manifests, digest_of(manifests[reference][1]))


IMPLEMENTATIONS = {"distribution 3": by_tag, "distribution 2.8": by_digest, "go-containerregistry": by_entry}
