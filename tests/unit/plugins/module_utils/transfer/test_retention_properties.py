# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Properties of all rules together, for random registries: nothing that a rule keeps is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import cosign_tags, fallback_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import Inventory, StoredImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.retention import (
    Decision,
    LockedImage,
    Rules,
    decide,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import match_usage
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.inventories import digest, stored, stored_index, use

REPOSITORIES = ("team/api", "web")
CONTENTS = ("a", "b", "c", "d")
TAGS = ("1.0", "1.1", "1.1-alpine", "latest", "main", *map(digest_tag, map(digest, CONTENTS[:2])))
REFERRERS = tuple(tag for name in "abix" for tag in (cosign_tags(digest(name))[0], fallback_tag(digest(name))))
TIMES = (None, "1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z")
NOW = 1781481600.0


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Return a registry with images, indexes of them, and referrers; each tag has one image."""
    images: list[StoredImage] = []
    for repository in REPOSITORIES:
        tags = draw(st.dictionaries(st.sampled_from((*TAGS, *REFERRERS)), st.sampled_from((*CONTENTS, "i", "j"))))
        names = {content: [tag for tag, other in tags.items() if other == content] for content in (*CONTENTS, "i", "j")}
        plain = {
            content: stored(
                repository,
                content,
                *names[content],
                layers=draw(st.sampled_from([(), ("base",), ("base", content)])),
                created=draw(st.sampled_from(TIMES)),
            )
            for content in CONTENTS
        }
        untagged = draw(st.sets(st.sampled_from(CONTENTS)))
        images += [image for content, image in plain.items() if image.tags or content in untagged]
        for content in ("i", "j"):
            children = draw(st.lists(st.sampled_from(CONTENTS), max_size=2, unique=True))
            if names[content]:
                index = stored_index(repository, content, tuple(plain[child] for child in children), *names[content])
                images.append(index)
    return Inventory(REPOSITORIES, tuple(images))


RULES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "patterns": st.lists(st.sampled_from(["*:1.0", "web", "team/*:latest", "*:sha256-*"]), max_size=2).map(tuple),
        "last": st.integers(1, 3),
        "younger": st.sampled_from([86400.0 * 30, 86400.0 * 365]),
        "locked": st.lists(
            st.builds(
                LockedImage,
                st.just("lock"),
                st.sampled_from(REPOSITORIES),
                st.sampled_from([None, "1.0", "main"]),
                st.sampled_from([digest(content) for content in CONTENTS]),
            ),
            max_size=2,
        ).map(tuple),
        "repositories": st.just(("team/*",)),
        "uses": st.lists(
            st.builds(
                use,
                st.sampled_from(["my_x.io/team/api:1.0", "x.io/web:latest", f"x.io/web@{digest('b')}", "not valid"]),
                st.sampled_from([None, *(digest(content) for content in CONTENTS)]),
            ),
            max_size=2,
        ),
    },
)


def decided(inventory: Inventory, options: dict[str, Any]) -> Decision:
    """Return the decisions by these rules."""
    options = dict(options)
    used = match_usage(options.pop("uses", ()), inventory).used
    return decide(inventory, Rules(used=used, age="x", now=NOW, **options))


def names_kept(decision: Decision) -> set[tuple[str, str | None, str]]:
    """Return what stays: each tag, and each image without tags."""
    return {
        (verdict.image.repository, verdict.digest, tag)
        for verdict in decision.verdicts
        for tag in (*verdict.kept, *([""] if verdict.reasons else []))
    }


def content_kept(decision: Decision) -> set[tuple[str, str]]:
    """Return the manifests that stay, by repository."""
    return {
        (verdict.image.repository, each)
        for verdict in decision.verdicts
        if verdict.stays
        for each in verdict.image.digests
    }


@given(inventories(), RULES, RULES)
def test_more_rules_keep_more(inventory: Inventory, some: dict[str, Any], more: dict[str, Any]) -> None:
    both = {**some, **{name: value for name, value in more.items() if name not in some}}

    fewer, all_rules = decided(inventory, some), decided(inventory, both)

    assert names_kept(fewer) <= names_kept(all_rules)
    assert content_kept(fewer) <= content_kept(all_rules)
    assert fewer.reclaimed >= all_rules.reclaimed


@given(inventories(), RULES)
def test_what_one_rule_keeps_stays_with_all_rules(inventory: Inventory, options: dict[str, Any]) -> None:
    together = names_kept(decided(inventory, options))

    for name, value in options.items():
        assert names_kept(decided(inventory, {name: value})) <= together


@given(inventories(), RULES)
def test_children_stay_with_index(inventory: Inventory, options: dict[str, Any]) -> None:
    decision = decided(inventory, options)
    kept = content_kept(decision)

    for verdict in decision.verdicts:
        key = verdict.image.repository, verdict.image.root.digest
        assert verdict.stays is (key in kept)
        assert set(verdict.kept).isdisjoint(verdict.deleted)
        assert {*verdict.kept, *verdict.deleted} == set(verdict.image.tags)


@given(inventories(), RULES)
def test_referrers_stay_with_subject(inventory: Inventory, options: dict[str, Any]) -> None:
    decision = decided(inventory, options)
    kept = content_kept(decision)

    for verdict in decision.verdicts:
        repository = verdict.image.repository
        for subject in map(digest, "ab"):
            tags = {*cosign_tags(subject), fallback_tag(subject)}
            if (repository, subject) in kept:
                assert tags.isdisjoint(verdict.deleted)


@given(inventories(), RULES)
def test_image_that_stays_is_reachable(inventory: Inventory, options: dict[str, Any]) -> None:
    decision = decided(inventory, options)
    reachable = {
        (verdict.image.repository, each)
        for verdict in decision.verdicts
        if verdict.kept or verdict.needs_tag
        for each in verdict.image.digests
    }

    assert content_kept(decision) == reachable


@given(inventories(), RULES)
def test_second_prune_deletes_nothing(inventory: Inventory, options: dict[str, Any]) -> None:
    first = decided(inventory, options)
    rest = [
        replace(verdict.image, tags=tuple(verdict.kept))
        for verdict in first.verdicts
        if verdict.kept or verdict.reasons
    ]

    second = decided(replace(inventory, images=tuple(rest)), options)

    assert names_kept(first) == names_kept(second)
    assert not second.deleted
    assert second.reclaimed == 0


@given(inventories(), RULES)
def test_bytes_reclaimed_are_those_of_deleted_content(inventory: Inventory, options: dict[str, Any]) -> None:
    decision = decided(inventory, options)
    rest = Inventory(images=tuple(verdict.image for verdict in decision.verdicts if verdict.stays))

    assert decision.reclaimed == inventory.bytes - rest.bytes
    assert 0 <= decision.reclaimed <= inventory.bytes
