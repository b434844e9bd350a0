# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Referrers, such as signatures, stay and go with the image to which they refer."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import cosign_tags, fallback_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import (
    Inventory,
    StoredImage,
    StoredManifest,
    Unreadable,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.retention import Decision, Rules, decide
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import match_usage
from unit.plugins.module_utils.support.inventories import HOSTS, digest, stored, stored_index, use

SIG = cosign_tags(digest("a"))[-1]
LIST = fallback_tag(digest("a"))


def decision(*images: StoredImage, keep: str = "*:kept", **rules: Any) -> Decision:
    """Return the decisions about images, of which those with the tag ``kept`` stay."""
    return decide(Inventory(images=images), Rules(patterns=(keep,), **rules))


def remaining(found: Decision) -> set[str]:
    """Return the names that stay."""
    return {f"{verdict.image.repository}:{tag}" for verdict in found.verdicts for tag in verdict.kept}


@pytest.mark.parametrize("tag", [*cosign_tags(digest("a")), LIST])
@pytest.mark.parametrize("subject", ["kept", "gone"])
def test_referrer_follows_subject(tag: str, subject: str) -> None:
    found = decision(stored("api", "a", subject), stored("api", "referrer", tag))

    assert (f"api:{tag}" in remaining(found)) is (subject == "kept")


def test_referrer_names_its_subject_as_reason() -> None:
    found = decision(stored("api", "a", "kept"), stored("api", "signature", SIG))

    assert found.verdicts[1].kept == {SIG: (f"refers to {digest('a')}, which stays",)}


def test_referrer_is_deleted_without_subject() -> None:
    found = decision(stored("api", "b", "kept"), stored("api", "signature", SIG), stored("api", "list", LIST))

    assert remaining(found) == {"api:kept"}
    assert [verdict.orphans for verdict in found.verdicts] == [(), (SIG,), (LIST,)]


def test_referrer_may_belong_to_image_that_cannot_be_read() -> None:
    broken = Unreadable("web", "1", SourceError("no manifest"))

    found = decide(Inventory(images=(stored("api", "signature", SIG),), unreadable=(broken,)), Rules())

    assert remaining(found) == {f"api:{SIG}"}
    assert found.verdicts[1].deleted == ("1",)


@pytest.mark.parametrize("rule", [{"younger": 1e9, "age": "30y"}, {"last": 5}])
def test_rules_by_age_and_number_do_not_keep_referrers(rule: dict[str, Any]) -> None:
    found = decision(
        stored("api", "b", "kept"), stored("api", "signature", SIG, created="2026-06-01T00:00:00Z"), **rule
    )

    assert remaining(found) == {"api:kept"}


@pytest.mark.parametrize("rule", [{"younger": 1e9, "age": "30y"}, {"last": 5}])
def test_image_with_tag_of_its_own_digest_is_no_referrer(rule: dict[str, Any]) -> None:
    # Tools that mirror images by digest set such tags.
    found = decision(stored("api", "b", "kept"), stored("api", "a", LIST, created="2026-06-01T00:00:00Z"), **rule)

    assert remaining(found) == {"api:kept", f"api:{LIST}"}


def test_referrers_do_not_count_as_last_images() -> None:
    image = stored("api", "a", "main", created="2026-01-01T00:00:00Z")
    signature = stored("api", "signature", SIG, created="2026-06-01T00:00:00Z")

    found = decision(image, signature, keep="nothing", last=1)

    assert remaining(found) == {"api:main", f"api:{SIG}"}


def test_signature_of_child_stays_with_index() -> None:
    child = stored("api", "a")

    found = decision(stored_index("api", "index", (child,), "kept"), stored("api", "signature", SIG))

    assert remaining(found) == {"api:kept", f"api:{SIG}"}


def test_signature_of_listed_referrer_stays_with_subject() -> None:
    sbom = stored("api", "sbom")
    signature = stored("api", "signature", cosign_tags(digest("sbom"))[-1])

    found = decision(signature, stored_index("api", "list", (sbom,), LIST), stored("api", "a", "kept"))

    assert all(verdict.stays for verdict in found.verdicts)


def test_tag_of_listed_referrer_stays_with_subject() -> None:
    sbom = stored("api", "sbom", "1.0-sbom")
    images = sbom, stored_index("api", "list", (sbom,), LIST)

    assert remaining(decision(*images, stored("api", "a", "kept"))) == {"api:kept", "api:1.0-sbom", f"api:{LIST}"}
    assert remaining(decision(*images, stored("api", "a", "gone"))) == set()


def test_shared_referrer_keeps_only_tags_of_subjects_that_stay() -> None:
    other = cosign_tags(digest("b"))[-1]

    found = decision(stored("api", "a", "kept"), stored("api", "b", "gone"), stored("api", "signature", SIG, other))

    assert remaining(found) == {"api:kept", f"api:{SIG}"}
    assert found.verdicts[2].deleted == (other,)


def test_referrer_of_used_image_stays_without_counting_as_used() -> None:
    images = stored("api", "a", "1"), stored("api", "signature", SIG, "old")
    inventory = Inventory(images=images)
    used = match_usage([use("example.com/api:1")], inventory).used

    found = decide(inventory, Rules(used=used))

    assert f"api:{SIG}" in remaining(found)


@pytest.mark.parametrize("host", HOSTS)
def test_referrer_in_use_by_its_tag_stays_without_subject(host: str) -> None:
    inventory = Inventory(images=(stored("team/api", "signature", SIG, "old"),))
    used = match_usage([use(f"{host}team/api:{SIG}")], inventory).used

    assert remaining(decide(inventory, Rules(used=used))) == {f"team/api:{SIG}"}


def test_running_referrer_with_invalid_name_stays_without_subject() -> None:
    inventory = Inventory(images=(stored("api", "signature", SIG),))
    used = match_usage([use("Not a name", digest("signature"))], inventory).used

    assert remaining(decide(inventory, Rules(used=used))) == {f"api:{SIG}"}


def test_referrer_in_other_repository_follows_subject() -> None:
    signature = stored("signatures", "signature", SIG)

    assert f"signatures:{SIG}" in remaining(decision(signature, stored("api", "a", "kept")))
    assert remaining(decision(signature, stored("api", "a", "gone"))) == set()


def test_subject_in_same_repository_takes_precedence() -> None:
    images = stored("api", "a", "gone"), stored("api", "signature", SIG), stored("web", "a", "kept")

    assert remaining(decision(*images)) == {"web:kept"}


def test_pattern_keeps_referrer_without_subject() -> None:
    assert remaining(decision(stored("api", "signature", SIG), keep="api")) == {f"api:{SIG}"}


def test_list_of_referrers_of_sha512_digest_follows_subject() -> None:
    subject = f"sha512:{hashlib.sha512(b'a').hexdigest()}"
    root = Descriptor(OCI_MANIFEST, subject, 1)
    images = [StoredImage("api", root, (tag,), (StoredManifest(root),)) for tag in ("kept", "gone")]
    referrers = stored("api", "list", fallback_tag(subject))

    for image in images:
        found = decision(image, referrers)
        assert found.verdicts[1].stays is (image.tags == ("kept",))


def test_tags_of_referrers_are_deleted_last() -> None:
    found = decision(stored("api", "signature", SIG), stored("api", "a", "1"), stored("api", "list", LIST))

    assert [tag for _image, tag in found.deleted] == ["1", SIG, LIST]


@pytest.mark.parametrize("image", [f"example.com/api:{LIST}", f"example.com/api@{digest('artifact')}"])
def test_referrer_stays_if_workload_uses_it_itself(image: str) -> None:
    images = stored("api", "a", "gone"), stored_index("api", "list", (stored("api", "artifact"),), LIST)
    used = match_usage([use(image)], Inventory(images=images)).used

    found = decision(*images, used=used)

    assert found.verdicts[1].kept == {LIST: ("used by Deployment team/app",)}
    assert remaining(found) == {f"api:{LIST}"}


def test_referrers_in_list_do_not_stay_with_other_tag_of_list() -> None:
    referrer = stored("api", "referrer", "1.0")
    found = decision(referrer, stored_index("api", "list", (referrer,), "kept", LIST))

    assert remaining(found) == {"api:kept"}


def test_referrers_in_list_stay_if_its_tag_stays_after_its_other_tag() -> None:
    referrer = stored("api", "referrer", "1.0")
    listed = stored_index("api", "list", (referrer,), "kept", LIST)
    found = decision(listed, referrer, stored("api", "a", "kept-subject"), keep="*:kept*")

    assert remaining(found) == {"api:kept", f"api:{LIST}", "api:kept-subject", "api:1.0"}
