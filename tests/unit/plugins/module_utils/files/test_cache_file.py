# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cache files."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.cache_file import CacheFile


def test_cache_file_drops_oldest_values_beyond_limit(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "cache", limit=2)
    for key in "abca":
        cache.put(key, key)

    cache.save()

    kept = CacheFile(tmp_path / "cache", limit=2)
    assert [kept.get(key) for key in "abc"] == ["a", None, "c"]


def test_cache_file_is_private(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "folder" / "cache", limit=2)
    cache.put("a", 1)

    cache.save()

    assert stat.S_IMODE((tmp_path / "folder" / "cache").stat().st_mode) == 0o600


@pytest.mark.usefixtures("full_disk")
def test_cache_file_keeps_values_and_leaves_no_temporary_file_on_full_disk(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "cache", limit=2)
    cache.put("a", 1)
    cache.save()
    cache.put("b", "x" * (65 << 10))

    cache.save()

    assert CacheFile(tmp_path / "cache", limit=2).get("a") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
