# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup ``k8scr.core.tags``: select tags of repositories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..errors import InputError
from ..oci.reference import parse_repository
from ..redaction import HIDDEN, SHORTEST, hidden_values, redacted
from ..registry.cluster import RegistrySettings
from ..registry.upstreams import TRANSPORT, Upstreams
from .numbers import read_number
from .tag_settings import TAGS_ARGUMENT_SPEC, read_selection
from .upstream_settings import UPSTREAMS_ARGUMENT_SPEC, upstream_settings

TAGS_LOOKUP_SPEC: dict[str, Any] = {
    **TAGS_ARGUMENT_SPEC,
    "upstreams": UPSTREAMS_ARGUMENT_SPEC,
    "timeout": {"type": "int", "default": RegistrySettings.timeout},
    "retry_timeout": {"type": "int", "default": RegistrySettings.retry_timeout},
}
"""Argument spec of the lookup."""


def find_tags(repositories: Sequence[Any], options: Mapping[str, Any]) -> list[str]:
    """Return the selected tags of all repositories, in the given order of these.

    Args:
        repositories: Names of repositories, with or without ``docker://``.
        options: The options by their names; missing ones have their defaults.

    Raises:
        InputError: An option or a repository is invalid, or a library is missing.
        SourceError: No tag of a repository is selected, or too many are.
        K8scrError: A registry cannot be reached or returned an error response.
    """
    read = _validated(options)
    selection, settings = read_selection(read), upstream_settings(read["upstreams"])
    references = [
        parse_repository(str(text)[len(TRANSPORT) if str(text).startswith(TRANSPORT) else 0 :]) for text in repositories
    ]
    if not references:
        raise InputError(
            "the lookup of tags has no repository", "Write a repository such as registry.example.com/team/api"
        )
    if find_spec("requests") is None:
        raise InputError(missing_required_lib("requests"))
    timeout, retry_timeout = read_number(read, "timeout"), read_number(read, "retry_timeout")
    with closing(Upstreams(settings, timeout=timeout, retry_timeout=retry_timeout)) as upstreams:
        return [
            tag
            for reference in references
            for tag in selection.select(upstreams.tags_of(reference), str(reference)).tags
        ]


def _validated(options: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [str(name) for name in options if name not in TAGS_LOOKUP_SPEC]
    if unknown:
        raise InputError(f"unknown options: {', '.join(unknown)}", f"Known options are {', '.join(TAGS_LOOKUP_SPEC)}")
    given = {name: value for name, value in options.items() if value is not None}
    found = ArgumentSpecValidator(TAGS_LOOKUP_SPEC).validate(given)
    if found.error_messages:
        message = "; ".join(found.error_messages)
        # Ansible's messages about invalid options quote values.
        hidden = {text for text in hidden_values(given, redacted(given, TAGS_LOOKUP_SPEC, {})) if len(text) >= SHORTEST}
        for text in sorted(hidden, key=len, reverse=True):
            message = message.replace(text, HIDDEN)
        raise InputError(message)
    return dict(found.validated_parameters)
