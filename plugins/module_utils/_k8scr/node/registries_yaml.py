# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``registries.yaml`` of k3s and RKE2 (k3s, "Private Registry Configuration"), in block or flow style or JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ..errors import InputError
from .checked_edit import Format, KeyPath, UnparsableError, entries_of
from .managed_block import Marked, has_entries, split_lines, taken_back, with_block, with_span
from .mirror import ALL, Mirror

try:
    import yaml
except ImportError:
    # Needed only where administrators have entries.
    HAS_YAML = False
else:
    HAS_YAML = True

_ENTRY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"): (\{.*\}),?\s*""")
"""A mirror in the managed block."""
_CONFIGS = re.compile(r"""\s*,?\s*"?configs"?: (\{.*\}),?\s*""")


def with_mirrors(text: str, upstreams: Sequence[str], mirror: Mirror) -> str:
    """Return a ``registries.yaml`` in which the mirror is asked first, and all else is as it was.

    Mirrors that administrators wrote are repeated in our lines, and set aside where they stand.

    Raises:
        InputError: What administrators wrote cannot be read, or does not go together with it.
    """
    text = taken_back(text)
    written = _read(text)
    mirrors = _section(written, "mirrors")
    everything = mirrors.get(ALL)
    for upstream in upstreams:
        # k3s uses the entry for all registries only for those that have none of their own.
        mirrors[upstream] = _with_endpoint(upstream, mirrors.get(upstream, everything), mirror)
    return _with_sections(text, mirrors, _added_configs(_section(written, "configs"), mirror))


def parse(text: str) -> Any:
    """Return the meaning of a ``registries.yaml``.

    Raises:
        UnparsableError: It is not valid.
        InputError: PyYAML is missing.
    """
    root = _root(text)
    _refuse_duplicates(root)
    try:
        return None if root is None else yaml.SafeLoader("").construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnparsableError(f"not valid YAML{_reason(error)}") from error


def own_paths(marked: Marked) -> Iterator[KeyPath]:
    """Return the entries that the managed block sets; mirrors of administrators that it repeats are among them."""
    lines = split_lines(marked.text)
    for number in marked.block:
        entry, configs = _ENTRY.fullmatch(lines[number]), _CONFIGS.fullmatch(lines[number])
        # Lines that somebody changed within the block are not ours.
        with suppress(ValueError):
            if configs:
                yield from entries_of({"configs": json.loads(configs.group(1))})
            elif entry:
                yield from entries_of({"mirrors": {json.loads(entry.group(1)): json.loads(entry.group(2))}})


YAML = Format(parse, own_paths)


def _added_configs(configs: dict[str, Any], mirror: Mirror) -> dict[str, Any]:
    if not mirror.ca_cert:
        return {}
    tls = {mirror.address: {"tls": {"ca_file": mirror.ca_cert}}}
    if not configs:
        return tls
    if not _is_trusted(configs.get(mirror.address)):
        # They may hold passwords, and are not repeated in the managed block.
        raise InputError(
            f"registries.yaml has configs, and none that says with ca_file whom to trust for {mirror.address}",
            f"Add to them: {json.dumps(tls)}",
        )
    return {}


def _with_sections(text: str, mirrors: dict[str, Any], configs: dict[str, Any]) -> str:
    root = _root(text) if has_entries(text) else None
    entries = [f"{json.dumps(host)}: {json.dumps(entry, default=str)}" for host, entry in mirrors.items()]
    if root is None or not isinstance(root, yaml.MappingNode):
        lines = split_lines(text)
        return with_block(lines, len(lines), _block_style(entries, configs, ""))
    if root.flow_style:
        return _in_flow(text, root, entries, configs)
    return _in_block(text, root, entries, configs)


def _block_style(entries: Sequence[str], configs: dict[str, Any], indent: str) -> list[str]:
    lines = [f"{indent}mirrors:", *(f"{indent}  {entry}" for entry in entries)]
    return [*lines, f"{indent}configs: {json.dumps(configs)}"] if configs else lines


def _in_block(text: str, root: Any, entries: Sequence[str], configs: dict[str, Any]) -> str:
    lines = split_lines(text)
    keys = ("mirrors", "configs") if configs else ("mirrors",)
    sections = [_lines_of(text, *pair) for pair in (_pair(root, key) for key in keys) if pair]
    aside = {number for section in sections for number in section}
    document = _lines_of(text, root, root)
    if aside:
        place = max(aside) + 1
    elif lines[document.stop - 1].endswith("\n"):
        place = document.stop
    else:
        # A line break after the last line could become part of a text that ends there.
        place = document.start
    return with_block(lines, place, _block_style(entries, configs, " " * root.start_mark.column), aside)


def _in_flow(text: str, root: Any, entries: Sequence[str], configs: dict[str, Any]) -> str:
    mapping = ["{", *(f"  {entry}," for entry in entries), "}"]
    mirrors = _pair(root, "mirrors")
    added = f'"configs": {json.dumps(configs)}' if configs else ""
    if added and _pair(root, "configs"):
        raise InputError(
            "registries.yaml has configs without entries in flow style, which cannot be added to",
            f"Write in their place: {added}",
        )
    if mirrors:
        start, end = mirrors[1].start_mark.index, mirrors[1].end_mark.index
        return with_span(text, start, end, [*mapping, *([f", {added}"] if added else ())])
    start = root.start_mark.index + 1
    mapping[0], mapping[-1] = '"mirrors": {', "},"
    return with_span(text, start, start, [*mapping, *([f"{added},"] if added else ())])


def _root(text: str) -> Any:
    """Return the node of the whole document; None where it is empty."""
    if not HAS_YAML:
        raise InputError(
            "a registries.yaml with entries of administrators can be changed only where it can be parsed, and the "
            f"Python library PyYAML is missing for {sys.executable}",
            "Install PyYAML on the node",
        )
    try:
        # libyaml reads JSON with tabs, as the library of k3s does, which is made after it.
        return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise UnparsableError(f"not valid YAML{_reason(error)}") from error


def _refuse_duplicates(root: Any) -> None:
    nodes, seen = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _value in node.value if isinstance(key, yaml.ScalarNode)]
            repeated = next((key for key in keys if keys.count(key) > 1), None)
            if repeated is not None:
                raise UnparsableError(f"the key {repeated} stands twice in one mapping")
            nodes += [value for _key, value in node.value]


def _reason(error: BaseException) -> str:
    """Return what is wrong and where, without the text of the file, which may hold passwords."""
    mark = getattr(error, "problem_mark", None)
    line = f" in line {mark.line + 1}" if mark else ""
    return f"{line}: {getattr(error, 'problem', None) or type(error).__name__}"


def _pair(root: Any, key: str) -> tuple[Any, Any] | None:
    """Return the nodes of a key and its value; None where it is missing."""
    return next(((name, value) for name, value in root.value if name.value == key), None)


def _lines_of(text: str, first: Any, last: Any) -> range:
    """Return the numbers of the lines from the beginning of one node to the end of another's content."""
    start, end = first.start_mark.index, len(text[: _content_end(last)].rstrip())
    return range(text.count("\n", 0, start), text.count("\n", 0, end) + 1)


def _content_end(node: Any) -> int:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return max(map(_content_end, last if isinstance(last, tuple) else (last,)))
    end: int = node.end_mark.index
    return end


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


def _read(text: str) -> dict[str, Any]:
    if not has_entries(text):
        return {}
    try:
        written = parse(text)
    except UnparsableError as error:
        raise InputError(f"registries.yaml is not changed: it is {error.message}", "Correct it") from error
    if not isinstance(written, (dict, type(None))):
        raise InputError("registries.yaml is not changed: it is not a mapping", "Correct it")
    return written or {}


def _section(written: dict[str, Any], key: str) -> dict[str, Any]:
    section = written.get(key)
    if not isinstance(section, (dict, type(None))):
        raise InputError(f"registries.yaml is not changed: its {key} are not a mapping", "Correct it")
    return dict(section or {})
