# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML of one value, and the value that kubectl reads; a test on the cluster compares the table with kubectl."""

from __future__ import annotations

from typing import Any

VALUES: dict[str, Any] = {
    # Text that YAML 1.1 takes for dates and numbers to the base 60.
    "2026-11-01": "2026-11-01",
    "2026-11-01T10:20:30Z": "2026-11-01T10:20:30Z",
    "2026-11-01 10:20:30": "2026-11-01 10:20:30",
    "2026-13-45": "2026-13-45",
    "22:30": "22:30",
    "52:54:10:44:49:56": "52:54:10:44:49:56",
    "190:20:30.15": "190:20:30.15",
    "=": "=",
    # Integers
    "644": 644,
    "0644": 420,
    "0o644": 420,
    "-0o17": -15,
    "0x1F": 31,
    "0b11": 3,
    "1_000": 1000,
    "+12": 12,
    "08": 8,
    "1e3": 1000,
    "1.0": 1,
    "-0.0": 0,
    "9223372036854775807": 9223372036854775807,
    "18446744073709551616": 1.8446744073709552e19,
    "1e21": 1e21,
    # Other numbers
    "1.5": 1.5,
    ".5": 0.5,
    "-.5": -0.5,
    "1_0.5": 10.5,
    # Text that resembles numbers
    "0o8": "0o8",
    "0xg": "0xg",
    "1e": "1e",
    "1.2.3": "1.2.3",
    "_1": "_1",
    "1e999": "1e999",
    "0x1p3": "0x1p3",
    "Inf": "Inf",
    "\u0661\u0662": "\u0661\u0662",
    # Booleans and null
    "y": True,
    "yes": True,
    "ON": True,
    "True": True,
    "n": False,
    "No": False,
    "off": False,
    "oFf": "oFf",
    "~": None,
    "Null": None,
    "": None,
    "nULL": "nULL",
    # Quotes and tags
    "'yes'": "yes",
    '"1"': "1",
    "!!str 0o644": "0o644",
    "!!int '0x10'": 16,
    "!!float 1": 1,
    "!!binary aGVsbG8=": "hello",
    "!!timestamp 2026-11-01": "2026-11-01",
    "!other 12": "12",
    "! 12": "12",
    "!!set {a, b}": {"a": None, "b": None},
    # Keys
    "{1: a, 0o10: b, true: c, 1.5: d, 2026-11-01: e, 22:30: f, 1e6: g}": {
        "1": "a",
        "8": "b",
        "true": "c",
        "1.5": "d",
        "2026-11-01": "e",
        "22:30": "f",
        "1e+06": "g",
    },
    "{y: a, no: b}": {"true": "a", "false": "b"},
    "{a: 1, a: 2}": {"a": 2},
    # Anchors and merges; kubectl merges at the position of the key.
    "[&x [1, 2], *x]": [[1, 2], [1, 2]],
    "[&x {a: 1, b: 1}, {<<: *x, b: 2}]": [{"a": 1, "b": 1}, {"a": 1, "b": 2}],
    "{a: 1, <<: {a: 2}}": {"a": 2},
    "{<<: [{a: 1}, {a: 2, b: 3}]}": {"a": 1, "b": 3},
    "{'<<': {a: 1}}": {"<<": {"a": 1}},
}
"""YAML of a value, and the value that kubectl reads."""

REJECTED = {
    ".inf": "which JSON does not support",
    "-.INF": "which JSON does not support",
    ".nan": "which JSON does not support",
    "!!int 1.5": "is not of its type !!int",
    "!!bool 1": "is not of its type !!bool",
    "{[a]: b}": "a key that is neither text",
    "{null: b}": "a key that is neither text",
    "{9223372036854775808: b}": "a key that is neither text",
    "*nope": "an alias without an anchor",
    "&x [*x]": "an alias without an anchor",
    "{<<: 5}": "merges a value that is not a dictionary",
    "[": "is not YAML",
    "a: b: c": "is not YAML",
}
"""YAML of a value that kubectl rejects, and a part of the message of this collection."""
