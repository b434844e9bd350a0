# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of HTTP headers."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.headers import media_type_of, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("9999", 60.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("", 0.0), ("-1", 0.0)]
)
def test_retry_after_is_number_of_seconds_up_to_a_minute(value: str, seconds: float) -> None:
    assert retry_after({"Retry-After": value}) == seconds


@pytest.mark.parametrize(
    ("headers", "media_type"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, "text/html"),
        ({"Content-Type": "text/html"}, "text/html"),
        ({}, ""),
    ],
)
def test_media_type_has_no_parameters(headers: dict[str, str], media_type: str) -> None:
    assert media_type_of(headers) == media_type
