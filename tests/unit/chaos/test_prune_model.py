# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The expected result of a prune in the campaign of prunes with faults."""

from __future__ import annotations

from chaos.prunes.model import Rules, StoredRepository, Use, expect

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def test_expectation_keeps_only_used_tag_of_image() -> None:
    stored = {"app": StoredRepository({"1.0": A, "latest": A}, frozenset({A}))}

    expected = expect(stored, Rules((), (Use("app", tag="1.0"),)))

    assert expected.kept == {("app", A)}
    assert expected.kept_tags == {("app", "1.0")}
    assert expected.gone_tags == {("app", "latest")}


def test_expectation_keeps_all_tags_of_used_digest_in_its_repository() -> None:
    stored = {name: StoredRepository({"1.0": A, "latest": A}, frozenset({A})) for name in ("app", "other")}

    expected = expect(stored, Rules((), (Use("app", digest=A),)))

    assert expected.kept_tags == {("app", "1.0"), ("app", "latest")}
    assert expected.gone == {("other", A)}


def test_expectation_keeps_repositories_of_pattern() -> None:
    stored = {name: StoredRepository({"1.0": A}, frozenset({A, B})) for name in ("team/app", "app")}

    expected = expect(stored, Rules(("team/*",), ()))

    assert expected.kept == {("team/app", A)}
    assert expected.gone == {("app", A), ("app", B), ("team/app", B)}


def test_expectation_keeps_locked_tag() -> None:
    stored = {"app": StoredRepository({"1.0": A, "2.0": B}, frozenset({A, B}))}

    expected = expect(stored, Rules((), (), (Use("app", tag="2.0"),)))

    assert expected.kept == {("app", B)}
    assert expected.gone == {("app", A)}


def test_expectation_keeps_image_without_tag_only_if_digest_is_used() -> None:
    stored = {"app": StoredRepository({"1.0": C}, frozenset({A, B, C}))}

    expected = expect(stored, Rules((), (Use("app", digest=A), Use("app", tag="1.0"))))

    assert expected.kept == {("app", A), ("app", C)}
    assert expected.gone == {("app", B)}


def test_expectation_ignores_children_of_indexes() -> None:
    stored = {"app": StoredRepository({"1.0": A}, frozenset({A, B}), frozenset({B}))}

    expected = expect(stored, Rules((), ()))

    assert expected.gone == {("app", A)}


def test_expectation_keeps_referrers_with_their_subject() -> None:
    tag = f"sha256-{'a' * 64}"
    stored = {"app": StoredRepository({"1.0": A, tag: B}, frozenset({A, B, C}), frozenset({C}))}

    kept = expect(stored, Rules(("app",), ()))
    gone = expect(stored, Rules((), ()))

    assert kept.referrers == {("app", B)}
    assert kept.kept_tags == gone.gone_tags == {("app", "1.0"), ("app", tag)}
    assert not gone.referrers


def test_expectation_deletes_referrers_without_image_unless_pattern_keeps_repository() -> None:
    tag = f"sha256-{'a' * 64}"
    stored = {"app": StoredRepository({"1.0": C, tag: B}, frozenset({B, C}))}

    used = expect(stored, Rules((), (Use("app", tag="1.0"),)))
    whole = expect(stored, Rules(("app",), ()))

    assert used.gone_tags == {("app", tag)}
    assert whole.referrers == {("app", B)}
    assert not whole.gone_tags


def test_expectation_keeps_newest_versions_and_images_without_version() -> None:
    tags = {"1.9.0": A, "1.10.0": B, "latest": C, f"k8scr-{'d' * 12}": "sha256:" + "d" * 64}
    stored = {"app": StoredRepository(tags, frozenset(tags.values()))}

    expected = expect(stored, Rules((), (), last=1))

    assert expected.kept == {("app", B), ("app", C)}
