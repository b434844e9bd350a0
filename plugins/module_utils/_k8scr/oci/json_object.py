# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects in JSON values from peers and files, where any value may have any type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def json_object(value: object) -> Mapping[str, Any]:
    """Return a value that is a JSON object; an empty object in place of any other value."""
    return value if isinstance(value, Mapping) else {}


def json_objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects in a list; none for a value that is not a list."""
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, Mapping))
