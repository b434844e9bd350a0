# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors in drop-ins for ``registries.conf``."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node import toml_parser
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.registries_conf import (
    drop_in_text,
    precedence_warnings,
)
from hypothesis import given, settings
from hypothesis import strategies as st

MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True)
MAIN = """\
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "old.example.com"

[[registry]]
prefix = "quay.io"
location = "quay.example.com"
insecure = true
[[registry.mirror]]
location = "first.example.com"
[[registry.mirror]]
location = "second.example.com"
[aliases]
"a" = "b"
"""


def _registries(text: str) -> list[dict[str, Any]]:
    registries: list[dict[str, Any]] = tomllib.loads(text)["registry"]
    return registries


def test_drop_in_has_mirror_before_upstream() -> None:
    assert _registries(drop_in_text(["docker.io"], MIRROR, {})) == [
        {
            "prefix": "docker.io",
            "location": "docker.io",
            "mirror": [{"location": "10.0.0.1:5001", "insecure": True}],
        }
    ]


def test_drop_in_keeps_settings_of_existing_entry() -> None:
    (quay,) = _registries(drop_in_text(["quay.io"], MIRROR, {"registries.conf": MAIN}))
    assert quay["location"] == "quay.example.com"
    assert quay["insecure"] is True
    locations = [mirror["location"] for mirror in quay["mirror"]]
    assert locations == ["10.0.0.1:5001", "first.example.com", "second.example.com"]


def test_drop_in_uses_entry_of_last_file() -> None:
    later = '[[registry]]\nprefix = "docker.io"\nlocation = "later.example.com"\n'
    (docker,) = _registries(drop_in_text(["docker.io"], MIRROR, {"registries.conf": MAIN, "50.conf": later}))
    assert docker["location"] == "later.example.com"
    assert len(docker["mirror"]) == 1


def test_drop_in_replaces_upstream_without_fallback() -> None:
    alone = Mirror("https", "images.example.com", qualify=True, fallback=False)
    assert _registries(drop_in_text(["quay.io"], alone, {})) == [
        {"prefix": "quay.io", "location": "images.example.com/quay.io"}
    ]


def test_drop_in_rejects_all_registries() -> None:
    with pytest.raises(InputError, match=r"does not support the upstream '\*'"):
        drop_in_text(["*"], MIRROR, {})


@pytest.mark.parametrize("setting", ["blocked", "mirror-by-digest-only"])
def test_drop_in_rejects_settings_that_exclude_mirror(setting: str) -> None:
    text = f'[[registry]]\nlocation = "docker.io"\n{setting} = true\n'
    with pytest.raises(InputError, match=f"a.conf has {setting} = true"):
        drop_in_text(["docker.io"], MIRROR, {"a.conf": text})


@pytest.mark.parametrize("setting", ["blocked", "mirror-by-digest-only"])
@pytest.mark.parametrize("prefix", ["evil.example.net", "docker.io/library", "*.docker.io"])
def test_drop_in_ignores_settings_of_other_registries(setting: str, prefix: str) -> None:
    text = f'[[registry]]\nprefix = "{prefix}"\nlocation = "a.example.com"\n{setting} = true\n'
    assert drop_in_text(["docker.io"], MIRROR, {"a.conf": text}) == drop_in_text(["docker.io"], MIRROR, {})


def test_drop_in_keeps_settings_of_wildcard() -> None:
    mirror = '[[registry.mirror]]\nlocation = "cache.example.com"\n'
    text = f'[[registry]]\nprefix = "*.example.com"\ninsecure = true\n{mirror}'
    (registry,) = _registries(drop_in_text(["registry.example.com"], MIRROR, {"a.conf": text}))
    assert registry == {
        "prefix": "registry.example.com",
        "location": "registry.example.com",
        "insecure": True,
        "mirror": [{"location": "10.0.0.1:5001", "insecure": True}, {"location": "cache.example.com"}],
    }


def test_drop_in_rejects_wildcard_that_blocks_registry() -> None:
    text = '[[registry]]\nprefix = "*.example.com"\nblocked = true\n'
    with pytest.raises(InputError, match=r"blocked = true for \*\.example\.com"):
        drop_in_text(["registry.example.com"], MIRROR, {"a.conf": text})


def test_drop_in_rejects_entries_of_two_files_that_one_file_cannot_have() -> None:
    entry = '[[registry]]\nprefix = "{}"\nlocation = "a.example.com"\n'
    others = {"a.conf": f"{entry.format('docker.io')}insecure = true\n", "b.conf": entry.format("quay.io")}
    with pytest.raises(InputError, match=r"docker\.io and quay\.io .* location a\.example\.com .* insecure"):
        drop_in_text(["docker.io", "quay.io"], MIRROR, others)
    alone = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=False)
    assert len(_registries(drop_in_text(["docker.io", "quay.io"], alone, others))) == 2


@pytest.mark.parametrize("fallback", [True, False])
def test_drop_in_accepts_empty_list_of_mirrors(fallback: bool) -> None:
    mirror = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=fallback)
    text = "[[registry]]\nlocation = 'docker.io'\n"
    expected = drop_in_text(["docker.io"], mirror, {"a.conf": text})
    assert drop_in_text(["docker.io"], mirror, {"a.conf": f"{text}mirror = []\n"}) == expected


@pytest.mark.parametrize(
    "form",
    [
        "[[registry]]\nlocation = 'quay.io'\nmirror = [{location = 'first.example.com', pull-from-mirror = 'all'}]\n",
        "registry = [{location = 'quay.io', mirror = [{location = 'first.example.com', pull-from-mirror = 'all'}]}]",
        """[[ registry ]] # \u2028[\r\n'location' = 'quay.io'\r\n[[registry . mirror]]\r\nlocation = "first.example.com"
        pull-from-mirror = 'all'""",
    ],
)
def test_drop_in_keeps_mirrors_in_every_form_of_toml(form: str) -> None:
    (quay,) = _registries(drop_in_text(["quay.io"], MIRROR, {"a.conf": form}))
    assert quay["mirror"][1:] == [{"location": "first.example.com", "pull-from-mirror": "all"}]


def test_drop_in_rejects_invalid_file() -> None:
    with pytest.raises(InputError, match=r"a\.conf is not valid TOML"):
        drop_in_text(["quay.io"], MIRROR, {"a.conf": "[[registry]]\nlocation = \n"})


def test_drop_in_needs_no_parser_for_files_without_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toml_parser, "_LOADS", None)
    search, aliases = 'unqualified-search-registries = ["docker.io"]\n', '[aliases]\n"a" = "b"\n'
    others = {"registries.conf": search, "short.conf": aliases}
    assert drop_in_text(["docker.io"], MIRROR, others) == drop_in_text(["docker.io"], MIRROR, {})
    with pytest.raises(InputError, match="Install tomli"):
        drop_in_text(["docker.io"], MIRROR, {"a.conf": MAIN})


WITH_PRECEDENCE = {
    "longer-prefix": ("docker.io", "docker.io/library", "a.conf"),
    "repository": ("docker.io", "docker.io/library/busybox", "a.conf"),
    "wildcard-as-long-as-the-name": ("a.example.com", "*.example.com", "a.conf"),
    "later-file": ("docker.io", "docker.io", "zzz.conf"),
}
WITHOUT_PRECEDENCE = {
    "itself": ("docker.io", "docker.io", "a.conf"),
    "other-registry": ("docker.io", "docker.io.example.com/library", "a.conf"),
    "other-port": ("docker.io", "docker.io:5000", "a.conf"),
    "shorter-wildcard": ("registry.example.com", "*.example.com", "a.conf"),
    "domain-of-wildcard": ("example.com", "*.example.com", "a.conf"),
}


@pytest.mark.parametrize("case", WITH_PRECEDENCE)
def test_precedence_warnings_name_entry_with_precedence(case: str) -> None:
    upstream, prefix, file = WITH_PRECEDENCE[case]
    (warning,) = precedence_warnings([upstream], {file: f'[[registry]]\nprefix = "{prefix}"\n'})
    assert warning.startswith(f"{file} has an entry for {prefix}, which takes precedence over the one for {upstream}")


@pytest.mark.parametrize("case", WITHOUT_PRECEDENCE)
def test_precedence_warnings_are_empty_for_entries_without_precedence(case: str) -> None:
    upstream, prefix, file = WITHOUT_PRECEDENCE[case]
    assert precedence_warnings([upstream], {file: f'[[registry]]\nprefix = "{prefix}"\n'}) == []


def _inline(value: Any) -> str:
    """Return a TOML value with inline tables."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_inline(each)}' for key, each in value.items())}}}"
    return f"[{', '.join(map(_inline, value))}]" if isinstance(value, list) else json.dumps(value)


@st.composite
def _entry(draw: st.DrawFn) -> dict[str, Any]:
    names = st.sampled_from(["a.example.com", "b.example.com/c"])
    entry: dict[str, Any] = {"prefix": draw(st.sampled_from(["docker.io", "*.io", "quay.io", "docker.io/library"]))}
    keys = st.sampled_from(["insecure", "blocked", "mirror-by-digest-only"])
    entry.update(draw(st.dictionaries(keys, st.just(False))))
    entry.update(draw(st.dictionaries(st.just("location"), names)))
    pulls = st.sampled_from(["all", "tag-only"])
    mirror = st.fixed_dictionaries({"location": names}, optional={"insecure": st.booleans(), "pull-from-mirror": pulls})
    return {**entry, "mirror": draw(st.lists(mirror, max_size=3))}


@settings(max_examples=100, deadline=None)
@given(st.lists(_entry(), max_size=3, unique_by=lambda entry: str(entry["prefix"])))
def test_drop_in_adds_only_mirror_to_existing_entry(entries: list[dict[str, Any]]) -> None:
    text = f"registry = {_inline(entries)}"
    found = {entry["prefix"]: entry for entry in entries}
    expected = found.get("docker.io") or found.get("*.io") or {"mirror": []}
    (after,) = _registries(drop_in_text(["docker.io"], MIRROR, {"a.conf": text}))
    assert after["mirror"].pop(0)["location"] == MIRROR.address
    assert after == {"location": "docker.io", **expected, "prefix": "docker.io"} | (
        {} if after["mirror"] else {"mirror": []}
    )
