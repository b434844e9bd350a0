# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors that users see."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, K8scrError, RegistryError


def test_error_has_message_and_advice() -> None:
    assert str(InputError("it is not a name", "Write a name")) == "it is not a name. Write a name."


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
