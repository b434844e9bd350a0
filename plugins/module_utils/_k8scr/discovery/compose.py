# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the images of the services in a compose file (compose-spec)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ..oci.json_object import json_object
from .collection import Origin
from .objects import Context

_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*:?-([^${}]*)\}")


def is_compose(value: Any) -> bool:
    """Return whether a document is a compose file."""
    services = json_object(json_object(value).get("services"))
    has_kind = "kind" in json_object(value) or "apiVersion" in json_object(value)
    return not has_kind and any(
        "image" in json_object(each) or "build" in json_object(each) for each in services.values()
    )


def find_in_compose(value: Any, origin: Origin, context: Context) -> None:
    """Add the images of the services, with the defaults of their variables."""
    for name, service in json_object(json_object(value).get("services")).items():
        text = json_object(service).get("image")
        found = origin.within("service", "", name, f"services.{name}.image")
        if isinstance(text, str) and text:
            plain = _VARIABLE.sub(lambda match: match[1], text)
            context.discovery.add(plain, found, context.how, context.line_of)
        elif "build" in json_object(service):
            context.discovery.skip(replace(found, path=f"services.{name}"), "the service builds its image")
