# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``registries.yaml`` of k3s and RKE2 (k3s, "Private Registry Configuration")."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from .mirror import Mirror
from .own_lines import taken_back, with_block

try:
    import yaml
except ImportError:
    # Needed only where administrators name mirrors of their own, which is said then.
    HAS_YAML = False
else:
    HAS_YAML = True


def with_mirrors(text: str, upstreams: Sequence[str], mirror: Mirror) -> str:
    """Return a ``registries.yaml`` in which the mirror is asked first, and all else is as it was.

    Mirrors that administrators wrote are repeated in our lines, and set aside where they stand.

    Raises:
        InputError: What administrators wrote cannot be read, or does not go together with it.
    """
    lines = taken_back(text).splitlines()
    start, end = _section(lines, "mirrors")
    mirrors = _read(lines, "mirrors")
    for upstream in upstreams:
        mirrors[upstream] = _with_endpoint(upstream, mirrors.get(upstream), mirror)
    block = ["mirrors:", *(f"  {json.dumps(host)}: {json.dumps(entry)}" for host, entry in mirrors.items())]
    aside = {*range(start, end)}
    if mirror.ca_cert:
        tls = {mirror.address: {"tls": {"ca_file": mirror.ca_cert}}}
        configs = _read(lines, "configs")
        if not configs:
            block.append(f"configs: {json.dumps(tls)}")
            aside.update(range(*_section(lines, "configs")))
        elif not _is_trusted(configs.get(mirror.address)):
            # They may hold passwords, and are not repeated in lines of ours.
            raise InputError(
                f"registries.yaml has configs, and none that says with ca_file whom to trust for {mirror.address}",
                f"Add to them: {json.dumps(tls)}",
            )
    return with_block(lines, end, block, aside)


def _is_trusted(config: Any) -> bool:
    tls = config.get("tls") if isinstance(config, dict) else None
    return isinstance(tls, dict) and bool(tls.get("ca_file"))


def _with_endpoint(upstream: str, written: Any, mirror: Mirror) -> dict[str, Any]:
    entry = dict(written) if isinstance(written, dict) else {}
    endpoints = [str(endpoint) for endpoint in entry.get("endpoint") or []]
    entry["endpoint"] = [mirror.url, *(endpoint for endpoint in endpoints if endpoint != mirror.url)]
    prefix = mirror.prefix(upstream)
    if prefix:
        rewrite = {"^(.*)$": f"{prefix}/$1"}
        if entry.get("rewrite", rewrite) != rewrite or entry["endpoint"] != [mirror.url]:
            raise InputError(
                f"registries.yaml has endpoints or a rewrite for {upstream}, and a rewrite is for all endpoints",
                "Deliver and mirror without qualify, or take them out",
            )
        entry["rewrite"] = rewrite
    elif entry.get("rewrite"):
        raise InputError(
            f"registries.yaml has a rewrite for {upstream}, which would be for the mirror too", "Take it out"
        )
    return entry


def _section(lines: Sequence[str], key: str) -> tuple[int, int]:
    """Return the lines of a key, from the first to the one after the last."""
    start = next((number for number, line in enumerate(lines) if line.startswith((f"{key}:", f'"{key}":'))), -1)
    if start < 0:
        return len(lines), len(lines)
    end = last = start + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t#}]"):
        end += 1
        if lines[end - 1].strip() and not lines[end - 1].startswith("#"):
            last = end
    return start, last


def _read(lines: Sequence[str], key: str) -> dict[str, Any]:
    start, end = _section(lines, key)
    if start == end:
        return {}
    if not HAS_YAML:
        raise InputError(
            f"registries.yaml has {key} already, and reading them takes the Python library PyYAML on the node",
            "Install PyYAML there",
        )
    try:
        value = yaml.safe_load("\n".join(lines[start:end]))
    except yaml.YAMLError as error:
        raise InputError(f"registries.yaml cannot be read: its {key} are not YAML") from error
    section = value.get(key) if isinstance(value, dict) else None
    if not isinstance(section, (dict, type(None))):
        raise InputError(f"registries.yaml cannot be read: its {key} are not a mapping")
    return dict(section or {})
