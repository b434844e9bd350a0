# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors that users see."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    InputError,
    K8scrError,
    RegistryError,
    SourceError,
    failure_lines,
)


def test_error_has_message_and_advice() -> None:
    assert str(InputError("it is not a name", "Write a name")) == "it is not a name. Write a name."


def test_error_has_one_period_after_message_of_registry() -> None:
    assert str(SourceError("the registry said: unsupported.", "Use another one")) == (
        "the registry said: unsupported. Use another one."
    )


def test_error_without_advice_has_only_the_message() -> None:
    assert str(InputError("it is not a name")) == "it is not a name"


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x00b", "a\u2028b", "a\udcffb"])
def test_error_is_one_printable_line_with_any_characters_in_names(name: str) -> None:
    error = K8scrError(f"{name} is damaged", f"Remove {name}")

    assert str(error).isprintable()
    assert str(error).startswith("a")
    assert str(error).encode()


def test_error_keeps_letters_of_all_languages() -> None:
    assert str(InputError("/media/Abbilder/Größe/画像.tar is damaged")) == "/media/Abbilder/Größe/画像.tar is damaged"


def test_registry_error_keeps_status_and_codes() -> None:
    error = RegistryError("it refuses", None, 404, ("NAME_UNKNOWN",))

    assert (error.status, error.codes) == (404, ("NAME_UNKNOWN",))


def test_failure_lines_group_names_by_reason_and_reasons_by_advice() -> None:
    lost = SourceError("the blob is on volume 2", "Insert volume 2")
    failures = [
        ("team/app:1", lost),
        ("team/db:1", SourceError("there is no tag 1", "Push it first")),
        ("team/web:1", lost),
        ("team/api:2", SourceError("there is no tag 2", "Push it first")),
        ("", SourceError("the disk is full")),
        ("team/x:1", SourceError("it is damaged", "Copy it again")),
    ]

    assert failure_lines(failures) == [
        "the blob is on volume 2:",
        "  team/app:1",
        "  team/web:1",
        "Insert volume 2.",
        "team/db:1: there is no tag 1",
        "team/api:2: there is no tag 2",
        "Push it first.",
        "the disk is full",
        "team/x:1: it is damaged. Copy it again.",
    ]
