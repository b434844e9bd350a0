# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delete tags and images of a repository (OCI distribution specification 1.1, "Content Management").

distribution 3 and go-containerregistry delete a tag by its name. distribution 2.8 deletes by digest only, together with
all tags of the digest. There, the tag is first moved to a placeholder, an empty index that no other tag has, and the
placeholder is deleted by its digest.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Optional

from ..errors import ApiServerError, DigestMismatchError, LostTagsError, RegistryError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of
from ..oci.manifest import OCI_INDEX, Manifest, load_json_object, parse_manifest
from .error_responses import error_of
from .listing import tags as list_tags
from .repository import Repository

if TYPE_CHECKING:
    _LookUp = Callable[[str], Optional[Descriptor]]

_DELETED_TAG = "k8scr.core/deleted-tag"
"""The annotation of a placeholder: the tag that it replaces."""
_IDENTITY = "k8scr.core/identity"
"""The annotation that makes each placeholder another manifest, so that only one tag has it."""
_LARGEST_PLACEHOLDER = 1024
_MOST_OTHERS = 1000
"""Tags in the first response with a list of tags."""
_DELETED = (200, 202, 204)
_FORBIDDEN = 403
_NOT_FOUND = 404
_NOT_ALLOWED = 405
_UNSUPPORTED = (400, _NOT_ALLOWED)
"""Status codes for a deletion by tag in registries that do not support it."""
_DISABLED = (
    "Deletion is disabled in the registry: set registry_delete: true in the role registry; for another registry of"
    " distribution, set storage.delete.enabled: true in its configuration"
)
_READ_ONLY = (
    "The registry or this port is read-only: use the registry's write port (registry_port, 5000 by default), and check"
    " that its configuration does not set storage.maintenance.readonly"
)
_ROLE = "the Role NAME-prune of the role registry, such as k8scr-prune, allows it"


class Deletion(str, Enum):
    """What happened to a tag.

    ``TAG``: the registry deleted it by its name. ``REPLACED``: it was moved to a placeholder, which was deleted by
    digest. ``MISSING``: it did not exist. ``MOVED``: it has another digest than expected, and is unchanged.
    """

    TAG = "tag"
    REPLACED = "replaced"
    MISSING = "missing"
    MOVED = "moved"

    @property
    def changed(self) -> bool:
        """Whether the tag was deleted."""
        return self in (Deletion.TAG, Deletion.REPLACED)


def delete_tag(
    repository: Repository,
    tag: str,
    digest: str | None,
    others: Collection[str] | None = None,
    unreadable: bool = False,
    on_deleted: Callable[[], None] = lambda: None,
) -> Deletion:
    """Delete one tag, and verify that its manifest and the manifest's other tags still exist.

    A deletion by placeholder that was interrupted is finished by the next call for the same tag.

    Args:
        digest: The digest that the tag must have; ``None`` for a broken tag: one that the registry lists, but for which
            it has no manifest.
        others: Other tags of the same digest, if they are known. By default, these are up to 1,000 tags of the
            repository; they are looked up only if the registry deletes the manifest with the tag.
        unreadable: Whether a tag is also broken if the registry cannot read its manifest. A fault of the storage may
            pass, so the user must have named the tag.
        on_deleted: Called when the tag is deleted, before the verification, which may fail.

    Raises:
        ApiServerError: The user may not delete.
        LostTagsError: The registry deleted other tags too.
        RegistryError: The registry does not allow deletion, or returned another error response.
    """
    look_up = partial(_readable if unreadable else resolve_readable, repository)
    found = look_up(tag)
    if (found.digest if found else None) != digest:
        return Deletion.MOVED if found else Deletion.MISSING
    failure = f"tag {tag} of {repository.description} cannot be deleted"
    if found and _is_placeholder(repository, found, tag):
        _delete(repository, found.digest, failure)
        on_deleted()
        _require_deleted(repository, tag, found.digest, failure)
        return Deletion.REPLACED
    known = others if others is not None else _other_tags(repository, tag)
    deleted = _delete_by_tag(repository, tag, digest, failure, look_up)
    if deleted is Deletion.MOVED or (not digest and deleted is Deletion.MISSING):
        return deleted
    if deleted is None:
        _replace(repository, tag, failure)
    on_deleted()
    _require_deleted(repository, tag, digest, failure)
    if digest:
        _require_others(repository, tag, digest, known)
    # After a lost response, a deleted tag is missing for the second request.
    return Deletion.TAG if deleted else Deletion.REPLACED


def delete_manifest(
    repository: Repository, digest: str, tags: Iterable[str] = (), on_deleted: Callable[[], None] = lambda: None
) -> bool:
    """Delete a manifest or an index with all its tags; the manifests in an index stay.

    Args:
        tags: The tags of this digest. They are verified to be deleted, and deleted by name in a registry that keeps
            them, as go-containerregistry does. The caller must know that no index lists the manifest.
        on_deleted: Called when the manifest is deleted, before the verification, which may fail.

    Returns:
        Whether the manifest existed.

    Raises:
        ApiServerError: The user may not delete.
        RegistryError: The registry does not allow deletion, or returned another error response.
    """
    failure = f"manifest {digest} of {repository.description} cannot be deleted"
    existed = _delete(repository, digest, failure)
    on_deleted()
    _require_deleted(repository, digest, digest, failure)
    for tag in tags:
        left = repository.resolve(tag)
        if left and left.digest == digest:
            _delete(repository, tag, failure)
            _require_deleted(repository, tag, digest, failure)
    return existed


def require_deletion(repository: Repository, failure: str = "") -> None:
    """Check that the registry allows deletion: request that it deletes a manifest that does not exist.

    Args:
        failure: The beginning of the error message.

    Raises:
        ApiServerError: The user may not delete.
        RegistryError: The registry does not allow deletion.
    """
    unknown = digest_of(secrets.token_bytes())
    _delete(repository, unknown, failure or f"images of {repository.description} cannot be deleted")


def deletes_by_tag(repository: Repository) -> bool:
    """Return whether the registry deletes tags by their name: request that it deletes a tag that does not exist.

    Raises:
        ApiServerError: The user may not delete.
        RegistryError: The registry returned another error response.
    """
    unknown = secrets.token_hex(16)
    try:
        _delete(repository, unknown, f"tags of {repository.description} cannot be deleted")
    except RegistryError as error:
        if error.transient or error.status not in _UNSUPPORTED:
            raise
        return False
    return True


def _delete(
    repository: Repository, reference: str, failure: str, may_repeat: Callable[[], bool] = lambda: True
) -> bool:
    """Delete a tag or a digest; return whether it existed.

    Args:
        may_repeat: Returns whether to repeat a failed request.
    """
    path, store, is_repeated = f"/v2/{repository.repository}/manifests/{reference}", repository.store, False

    def attempt() -> bool:
        nonlocal is_repeated
        if is_repeated and not may_repeat():
            return False
        is_repeated = True
        response = store.exchange("DELETE", path)
        if response.status_code not in (*_DELETED, _NOT_FOUND):
            raise error_of(response, failure, store.description)
        return response.status_code != _NOT_FOUND

    with _advice():
        return store.retries.run(failure, attempt)


def resolve_readable(repository: Repository, tag: str) -> Descriptor | None:
    """Return the descriptor of a tag; ``None`` if the registry does not have it.

    Raises:
        RegistryError: The registry returned another error response. If it cannot read the manifest, the advice is to
            delete the tag.
    """
    try:
        return repository.resolve(tag)
    except RegistryError as error:
        if not error.is_unreadable:
            raise
        advice = f"Check the registry's log. If the manifest is damaged, delete the tag {tag} with k8scr_image first"
        raise error.replace(advice=advice) from error


def _readable(repository: Repository, tag: str) -> Descriptor | None:
    """Return the descriptor of a tag; ``None`` for a broken or missing tag."""
    try:
        return repository.resolve(tag)
    except RegistryError as error:
        if not error.is_unreadable:
            raise
        return None


def _digest_at(look_up: _LookUp, tag: str) -> str | None:
    found = look_up(tag)
    return found.digest if found else None


def _delete_by_tag(
    repository: Repository, tag: str, digest: str | None, failure: str, look_up: _LookUp
) -> Deletion | None:
    """Delete a tag by its name; return ``None`` if the registry does not support this.

    Another client may move the tag while this one waits, for example for the end of a garbage collection.
    """
    try:
        if _delete(repository, tag, failure, lambda: _digest_at(look_up, tag) == digest):
            return Deletion.TAG
    except RegistryError as error:
        # distribution also responds with 405 if deletion is disabled; only a deletion by digest shows that.
        if error.transient or error.status not in _UNSUPPORTED:
            raise
        return None
    # Registries without this function may return 404 too.
    found = _digest_at(look_up, tag)
    if found and found != digest:
        return Deletion.MOVED
    return None if found else Deletion.MISSING


def _replace(repository: Repository, tag: str, failure: str) -> None:
    """Move a tag to a placeholder and delete that by digest, which deletes this tag only."""
    # If the registry did not allow the deletion, the tag would stay at the placeholder.
    require_deletion(repository, failure)
    placeholder = _placeholder(tag)
    repository.publish(placeholder, tag)
    _delete(repository, placeholder.descriptor.digest, failure)
    _require_deleted(repository, tag, placeholder.descriptor.digest, failure)


def _placeholder(tag: str) -> Manifest:
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [],
        "annotations": {_DELETED_TAG: tag, _IDENTITY: secrets.token_hex(16)},
    }
    return parse_manifest(json.dumps(value, separators=(",", ":")).encode())


def deleted_tag(index: Manifest) -> str | None:
    """Return the tag that a placeholder replaces; ``None`` if the manifest is no placeholder."""
    if index.descriptor.media_type != OCI_INDEX or index.manifests or index.layers:
        return None
    annotations = load_json_object(index.content, "the index").get("annotations")
    tag = annotations.get(_DELETED_TAG) if isinstance(annotations, dict) else None
    return tag if isinstance(tag, str) else None


def _is_placeholder(repository: Repository, found: Descriptor, tag: str) -> bool:
    """Return whether a manifest is the placeholder of this tag, which an interrupted deletion left."""
    if found.media_type != OCI_INDEX or found.size > _LARGEST_PLACEHOLDER:
        return False
    try:
        return deleted_tag(repository.fetch_manifest(found)) == tag
    except (SourceError, DigestMismatchError):
        return False


def _other_tags(repository: Repository, tag: str) -> tuple[str, ...]:
    """Return other tags of the repository, with one request."""
    try:
        names = islice(list_tags(repository.store, repository.repository), _MOST_OTHERS)
        return tuple(name for name in names if name != tag)
    except RegistryError:
        # Not all registries have the list.
        return ()


def _require_deleted(repository: Repository, reference: str, digest: str | None, failure: str) -> None:
    after = repository.resolve(reference)
    # Another client may have pushed another image to the tag meanwhile.
    if after and digest in (None, after.digest):
        raise RegistryError(
            f"{failure}: {repository.store.description} accepted the deletion, but still has {reference}",
            "Another client may have pushed it again, or the registry caches its images: run again",
        )


def _require_others(repository: Repository, tag: str, digest: str, others: Collection[str]) -> None:
    """Check that a manifest still exists after the deletion of one of its tags.

    Registries that delete the manifest too, if it has no other tag, are accepted.
    """
    if repository.resolve(digest):
        return
    lost = [other for other in others if repository.resolve(other) is None]
    if lost:
        raise LostTagsError(
            f"with the tag {tag}, {repository.store.description} deleted manifest {digest} and its tags"
            f" {', '.join(lost):.500} in {repository.repository}",
            "Push them again; the registry cannot delete single tags",
        )


@contextmanager
def _advice() -> Iterator[None]:
    """Name the option or the Role that allows deletion in errors of the registry and of the API server."""
    try:
        yield
    except RegistryError as error:
        if error.status != _NOT_ALLOWED or error.transient:
            raise
        raise error.replace(advice=_DISABLED if "UNSUPPORTED" in error.codes else _READ_ONLY) from error
    except ApiServerError as error:
        if error.status != _FORBIDDEN:
            raise
        raise error.replace(advice=f"{error.advice}; {_ROLE}" if error.advice else _ROLE) from error
