# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials in URLs and names are found in linear time, and names with digests have none."""

from __future__ import annotations

import time

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.redaction import passwords_in, without_passwords

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("repeated", ["//a:", "://", "ssh://", "//a:@sha256:", " //a:", "@", "a:@", "@a"])
def test_redaction_of_hostile_text_takes_linear_time(repeated: str) -> None:
    text = repeated * (500_000 // len(repeated))
    begin = time.process_time()

    without_passwords(text)
    list(passwords_in(f"a:{text}"))
    list(passwords_in(text, of_images=True))

    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("get https://me:pw@h.example.com/a: no", "get https://********@h.example.com/a: no"),
        ("HTTPS://me:p//w@h and tcp://token@h", "HTTPS://********@h and tcp://********@h"),
        (f"docker://me:p@w@[fd00::1]:5000/app@{DIGEST}", f"docker://********@[fd00::1]:5000/app@{DIGEST}"),
        (f"docker://h:5000/app:1@{DIGEST}", f"docker://h:5000/app:1@{DIGEST}"),
        ("ssh://root@h SSH://root@h", "ssh://root@h SSH://root@h"),
        ("SSH://root:pw@h", "SSH://********@h"),
        ("mail me@example.com, a: b@c", "mail me@example.com, a: b@c"),
    ],
)
def test_text_is_shown_without_credentials_in_urls(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    ("location", "passwords"),
    [
        ("docker://me:p w@h.example.com/app", ["p w"]),
        ("docker://me:p\nw@h.example.com/app", ["p\nw"]),
        ("me:p w@h.example.com/app", ["p w"]),
        ("me:p%40w@[fd00::1]:5000/app", ["p%40w"]),
        (":pw@h.example.com", ["pw"]),
        (f"h:5000/app:1@{DIGEST}", []),
        ("oci:/data/a:b@c.d", []),
        ("/data/me@example.com/a.tar", []),
        ("git@example.com:team/app", []),
    ],
)
def test_passwords_in_location_are_found(location: str, passwords: list[str]) -> None:
    assert list(passwords_in(location)) == passwords


@pytest.mark.parametrize(
    ("location", "passwords"),
    [
        ("token@h.example.com/app", ["token"]),
        ("token@h/app", ["token"]),
        (f"app@{DIGEST}", []),
        ("~me@site/a.tar", []),
        ("./me@site/a.tar", []),
        ("oci:me@site/layout", []),
        ("docker-archive:me@site/a.tar:app", []),
        ("node_modules/@site/app", []),
    ],
)
def test_token_before_host_of_image_is_found(location: str, passwords: list[str]) -> None:
    assert list(passwords_in(location, of_images=True)) == passwords
    assert list(passwords_in(location)) == []
