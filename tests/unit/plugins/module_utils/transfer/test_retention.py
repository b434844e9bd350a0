# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that keep images: each rule alone, and its reasons."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.timestamp import parse_timestamp
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import (
    Inventory,
    StoredImage,
    Unreadable,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.retention import (
    Decision,
    LockedImage,
    Rules,
    decide,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.retention_marks import Verdict
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import match_usage
from unit.plugins.module_utils.support.inventories import HOSTS, digest, stored, stored_index, use

NOW = parse_timestamp("2026-06-15T00:00:00Z")
assert NOW is not None


def decision(*images: StoredImage, **rules: Any) -> Decision:
    """Return the decisions about the images of a registry."""
    return decide(Inventory(images=images), Rules(now=NOW or 0, **rules))


def kept(found: Decision) -> dict[str, tuple[str, ...]]:
    """Return the reasons of all names that stay."""
    names = {}
    for verdict in found.verdicts:
        repository = verdict.image.repository
        names.update({f"{repository}:{tag}": reasons for tag, reasons in verdict.kept.items()})
        if verdict.reasons:
            names[f"{repository}@{verdict.digest}"] = verdict.reasons
    return names


def deleted(found: Decision) -> set[str]:
    """Return the names of all tags that go."""
    return {f"{verdict.image.repository}:{tag}" for verdict in found.verdicts for tag in verdict.deleted}


def verdict_of(found: Decision, content: str) -> Verdict:
    """Return the decision about the image with a content."""
    return next(verdict for verdict in found.verdicts if verdict.digest == digest(content))


def test_image_is_deleted_without_rule() -> None:
    found = decision(stored("team/api", "a", "1", "2"))

    assert deleted(found) == {"team/api:1", "team/api:2"}
    assert kept(found) == {}


@pytest.mark.parametrize("pattern", ["team/*", "*:stable", "team/api:s*e", "team/api", "team/api:stable", "*"])
def test_pattern_keeps_repository_or_name(pattern: str) -> None:
    found = decision(stored("team/api", "a", "stable"), patterns=(pattern,))

    assert kept(found) == {"team/api:stable": (f"matches {pattern}",)}
    assert found.unmatched == ()


@pytest.mark.parametrize("pattern", ["api", "team", "*:Stable", "stable", "team/api:"])
def test_pattern_that_matches_nothing_is_reported(pattern: str) -> None:
    found = decision(stored("team/api", "a", "stable"), patterns=(pattern,))

    assert deleted(found) == {"team/api:stable"}
    assert found.unmatched == (pattern,)


def test_pattern_keeps_only_matching_tags_of_image() -> None:
    found = decision(stored("team/api", "a", "stable", "nightly"), patterns=("*:stable",))

    assert deleted(found) == {"team/api:nightly"}
    assert verdict_of(found, "a").stays
    assert found.reclaimed == 0


def test_other_repositories_stay_with_selection() -> None:
    found = decision(stored("old/api", "a", "1"), stored("team/api", "b", "1"), repositories=("old/*",))

    assert deleted(found) == {"old/api:1"}
    assert kept(found) == {"team/api:1": ("not in the selected repositories",)}


def test_lock_file_keeps_name_with_locked_digest_only() -> None:
    lock = LockedImage("images.lock", "team/api", "1", digest("a"))

    found = decision(stored("team/api", "a", "1", "latest"), locked=(lock,))

    assert kept(found) == {"team/api:1": ("in the lock file images.lock",)}
    assert deleted(found) == {"team/api:latest"}


def test_lock_file_keeps_moved_tag_and_locked_content() -> None:
    lock = LockedImage("images.lock", "team/api", "1", digest("a"))

    found = decision(stored("team/api", "a"), stored("team/api", "b", "1"), locked=(lock,))

    assert kept(found) == {
        f"team/api@{digest('a')}": ("its digest is in the lock file images.lock",),
        "team/api:1": ("in the lock file images.lock",),
    }
    assert verdict_of(found, "a").needs_tag


def test_lock_file_keeps_image_by_digest_of_config() -> None:
    lock = LockedImage("images.lock", "team/api", "1", digest("config of a"))

    found = decision(stored("team/api", "a", "0.9"), stored("team/api", "b", "1"), locked=(lock,))

    assert set(kept(found)) == {"team/api:0.9", "team/api:1"}


def test_lock_file_of_other_repository_keeps_nothing() -> None:
    lock = LockedImage("images.lock", "team/web", "1", digest("a"))

    assert kept(decision(stored("team/api", "a", "1"), locked=(lock,))) == {}


@pytest.mark.parametrize("host", HOSTS)
def test_used_image_keeps_used_tag_only(host: str) -> None:
    image = stored("team/api", "a", "1", "latest")
    used = match_usage([use(f"{host}team/api:1", digest("a"))], Inventory(images=(image,))).used

    found = decision(image, used=used)

    assert kept(found) == {"team/api:1": ("used by Deployment team/app",)}


def test_image_used_by_digest_keeps_all_tags() -> None:
    images = stored("team/api", "a", "0.9", "old"), stored("team/api", "b", "1")
    used = match_usage([use("registry.example.com/team/api:1", digest("a"))], Inventory(images=images)).used

    found = decision(*images, used=used)

    assert set(kept(found)) == {"team/api:0.9", "team/api:old", "team/api:1"}


def test_image_without_tag_in_use_needs_tag() -> None:
    image = stored("team/api", "a")
    used = match_usage([use(f"team/api@{digest('a')}")], Inventory(images=(image,))).used

    found = decision(image, used=used)

    assert verdict_of(found, "a").needs_tag
    assert verdict_of(found, "a").reasons == ("used by Deployment team/app",)


def test_reason_names_three_workloads_of_many() -> None:
    image = stored("team/api", "a", "1")
    uses = [use("team/api:1", name=f"app{number}") for number in range(5)]
    used = match_usage(uses, Inventory(images=(image,))).used

    reasons = list(kept(decision(image, used=used)).values())

    assert reasons == [("used by Deployment team/app0, Deployment team/app1, Deployment team/app2 and 2 more",)]


def test_image_for_rollbacks_stays() -> None:
    image = stored("team/api", "a", "1")
    used = match_usage([use("team/api:1", kind="ReplicaSet", rollback=True)], Inventory(images=(image,))).used

    assert kept(decision(image, used=used)) == {"team/api:1": ("used by ReplicaSet team/app (for rollbacks)",)}


def test_younger_images_stay_by_time_of_creation() -> None:
    found = decision(
        stored("api", "a", "1", created="2026-06-14T00:00:00.5Z"),
        stored("api", "b", "2", created="2026-06-01T00:00:00+02:00"),
        stored("api", "c", "3", created="1970-01-01T00:00:00Z"),
        stored("api", "d", "4"),
        younger=14 * 86400.0,
        age="14d",
    )

    assert kept(found) == {
        "api:1": ("created 2026-06-14T00:00:00.5Z, less than 14d ago",),
        "api:4": ("its time of creation is unknown",),
    }


def test_last_versions_stay_in_each_repository() -> None:
    found = decision(
        *(stored("api", f"api {tag}", tag) for tag in ("1.9.0", "1.10.0", "1.2.0")),
        *(stored("web", f"web {tag}", tag) for tag in ("v1", "v2")),
        last=2,
    )

    assert deleted(found) == {"api:1.2.0"}
    assert kept(found)["api:1.10.0"] == ("one of the last 2 versions",)


def test_last_versions_count_images_and_keep_all_their_tags() -> None:
    found = decision(
        stored("api", "c", "1.2.3", "1.2", "1", "latest"),
        stored("api", "b", "1.2.2"),
        stored("api", "a", "1.1.9", "1.1"),
        last=2,
    )

    assert deleted(found) == {"api:1.1.9", "api:1.1"}


def test_last_versions_count_variants_separately() -> None:
    tags = ("1.2.3", "1.2.2", "1.2.3-alpine", "1.2.2-alpine", "2.0.0-rc.1", "2.0.0-rc.2")

    found = decision(*(stored("api", tag, tag) for tag in tags), last=1)

    assert deleted(found) == {"api:1.2.2", "api:1.2.2-alpine", "api:2.0.0-rc.1"}
    assert kept(found)["api:1.2.3-alpine"] == ("one of the last 1 versions with the suffix alpine",)


def test_last_images_without_version_stay_by_time() -> None:
    found = decision(
        stored("api", "a", "main", created="2026-01-03T00:00:00Z"),
        stored("api", "b", "pr-7", created="2026-01-02T00:00:00Z"),
        stored("api", "c", "pr-6", created="2026-01-01T00:00:00Z"),
        stored("api", "d", "unknown"),
        stored("api", "e", "1.0", created="2020-01-01T00:00:00Z"),
        last=2,
    )

    assert deleted(found) == {"api:pr-6"}
    assert kept(found)["api:unknown"] == ("its tags are not versions, and its time of creation is unknown",)


def test_images_of_same_time_stay_together() -> None:
    epoch = "1970-01-01T00:00:00Z"

    found = decision(*(stored("api", tag, tag, created=epoch) for tag in ("main", "next", "old")), last=1)

    assert deleted(found) == set()


def test_last_does_not_count_tags_of_collection() -> None:
    own = f"k8scr-{digest('a')[7:19]}"

    found = decision(stored("api", "a", own, created="2026-06-01T00:00:00Z"), stored("api", "b", "1"), last=1)

    assert deleted(found) == {f"api:{own}"}
    assert set(kept(found)) == {"api:1"}


def test_children_stay_with_index_and_lose_own_tags() -> None:
    child = stored("api", "amd64", "1-amd64", layers=("l",))
    index = stored_index("api", "index", (child,), "1")

    found = decision(child, index, patterns=("*:1",))

    assert deleted(found) == {"api:1-amd64"}
    assert verdict_of(found, "amd64").stays
    assert not verdict_of(found, "amd64").needs_tag
    assert found.reclaimed == 0


def test_children_are_deleted_with_index() -> None:
    child = stored("api", "amd64", layers=("l",))
    index = stored_index("api", "index", (child,), "1")

    found = decision(index)

    assert found.reclaimed == 1 + 1 + 10 + 100


def test_index_of_other_repository_does_not_keep_content() -> None:
    child = stored("api", "amd64", "1-amd64")

    found = decision(child, stored_index("web", "index", (child,), "1"), patterns=("web",))

    assert not verdict_of(found, "amd64").stays


def test_bytes_reclaimed_count_each_blob_of_deleted_images_once() -> None:
    found = decision(
        stored("api", "a", "1", layers=("base", "only a", "both")),
        stored("web", "b", "1", layers=("base", "both")),
        stored("web", "c", "2", layers=("base",)),
        patterns=("web:2",),
    )

    assert found.reclaimed == (1 + 10) * 2 + 100 * 2


def test_broken_tag_is_decided_by_its_name() -> None:
    error = SourceError("no manifest")
    broken = Unreadable("api", "1", error), Unreadable("api", "2", error), Unreadable("api", digest("x"), error)

    found = decide(Inventory(unreadable=broken), Rules(patterns=("*:1",)))

    assert set(kept(found)) == {"api:1"}
    assert deleted(found) == {"api:2"}
    assert [verdict.digest for verdict in found.verdicts] == [None, None]


@pytest.mark.parametrize(("rules", "expected"), [({}, True), ({"patterns": ("api:1",)}, False)])
def test_empty_result_is_recognized(rules: dict[str, Any], expected: bool) -> None:
    given = Rules(**rules)

    assert decide(Inventory(images=(stored("api", "a", "1"),)), given).leaves_nothing(given) is expected


def test_result_is_empty_if_only_other_repositories_stay() -> None:
    given = Rules(repositories=("old/*",))
    images = stored("old/api", "a", "1"), stored("api", "b", "1")

    assert decide(Inventory(images=images), given).leaves_nothing(given)


def test_registry_without_images_is_not_emptied() -> None:
    assert not decide(Inventory(), Rules()).leaves_nothing(Rules())


def test_tags_that_were_not_deleted_stay_with_reason() -> None:
    image, child = stored("api", "a", "1", "2", layers=("l",)), stored("api", "b", "3", layers=("l",))
    found = decision(image, child)
    key = ("api", digest("a"))

    limited = found.limited({(key, "1")}, {(key, "2"): "moved"})

    assert deleted(limited) == {"api:1"}
    assert kept(limited) == {
        "api:2": ("moved",),
        "api:3": ("not deleted, because the task failed before",),
    }
    assert limited.reclaimed == 0
