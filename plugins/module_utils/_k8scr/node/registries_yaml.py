# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``registries.yaml`` of k3s and RKE2 (k3s, "Private Registry Configuration"), in block or flow style or JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import InputError
from .checked_edit import FileFormat, KeyPath, UnparsableError, list_entries
from .managed_block import ManagedFile, has_entries, insert_block, remove_block, replace_span, split_lines
from .mirror import ALL_REGISTRIES, Mirror

try:
    import yaml
except ImportError:
    # Required only for files with entries of administrators.
    HAS_YAML = False
else:
    HAS_YAML = True

_ENTRY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"): (\{.*\}),?\s*""")
"""A mirror in the managed block."""
_DEFAULT_HOSTS = {"docker.io": "registry-1.docker.io"}
"""The hosts of registries with another name (containerd, core/remotes/docker/config/hosts.go)."""
_CONFIGS = re.compile(r"""\s*,?\s*"?configs"?: (\{.*\}),?\s*""")


def add_mirrors(text: str, upstreams: Sequence[str], mirror: Mirror, exclude: Sequence[str] = ()) -> str:
    """Return a ``registries.yaml`` with the mirror as the first endpoint, and other entries unchanged.

    The managed block repeats the mirrors of administrators, and disables the original lines. ``exclude`` has the hosts
    of the registries to which ``*`` does not apply.

    Raises:
        InputError: The file is not valid, or its entries conflict with the mirror; see
            :func:`.checked_edit.edit_errors`.
    """
    unmanaged = remove_block(text)
    existing = _read(unmanaged, "" if unmanaged == text else " without the managed block")
    mirrors = _section(existing, "mirrors")
    default = mirrors.get(ALL_REGISTRIES)
    for upstream in upstreams:
        # k3s applies the entry for all registries only to registries without an entry.
        mirrors[upstream] = _add_endpoint(upstream, mirrors.get(upstream, default), mirror)
    if ALL_REGISTRIES in upstreams:
        for registry in exclude:
            mirrors.setdefault(registry, default or {"endpoint": [_own_endpoint(registry)]})
    return _with_sections(unmanaged, mirrors, _new_configs(_section(existing, "configs"), mirror))


def parse(text: str) -> Any:
    """Parse a ``registries.yaml``.

    Raises:
        UnparsableError: The file is not valid.
        InputError: PyYAML is missing.
    """
    root = _root(text)
    _reject_duplicates(root)
    with _yaml_errors():
        return None if root is None else yaml.SafeLoader("").construct_document(root)


def managed_keys(file: ManagedFile) -> Iterator[KeyPath]:
    """Return the keys of the entries in the managed block, including repeated mirrors of administrators."""
    lines = split_lines(file.text)
    for number in file.block:
        entry, configs = _ENTRY.fullmatch(lines[number]), _CONFIGS.fullmatch(lines[number])
        # Lines that a user changed within the block are not managed.
        with suppress(ValueError):
            if configs:
                yield from list_entries({"configs": json.loads(configs.group(1))})
            elif entry:
                yield from list_entries({"mirrors": {json.loads(entry.group(1)): json.loads(entry.group(2))}})


YAML = FileFormat(parse, managed_keys)


def _own_endpoint(registry: str) -> str:
    """Return the URL of a registry itself in a form that k3s keeps as an endpoint.

    k3s omits an entry whose only endpoint is the URL that it requests by default, ``https://HOST/v2``. Then the entry
    for all registries applies (k3s, pkg/agent/containerd/config.go). The final slash is the difference.
    """
    return f"https://{_DEFAULT_HOSTS.get(registry, registry)}/v2/"


def _new_configs(configs: dict[str, Any], mirror: Mirror) -> dict[str, Any]:
    if not mirror.ca_cert:
        return {}
    tls = {mirror.address: {"tls": {"ca_file": mirror.ca_cert}}}
    if not configs:
        return tls
    if not _is_trusted(configs.get(mirror.address)):
        # The configs may have passwords, so the managed block does not repeat them.
        raise InputError(
            f"it has configs, but none with a ca_file for {mirror.address}",
            f"Add to configs: {json.dumps(tls)}",
        )
    return {}


def _with_sections(text: str, mirrors: dict[str, Any], configs: dict[str, Any]) -> str:
    root = _root(text) if has_entries(text) else None
    entries = [f"{json.dumps(host)}: {json.dumps(entry, default=str)}" for host, entry in mirrors.items()]
    if root is None or not isinstance(root, yaml.MappingNode):
        lines = split_lines(text)
        return insert_block(lines, len(lines), _block_style(entries, configs, ""))
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
    disabled = {number for section in sections for number in section}
    document = _lines_of(text, root, root)
    if disabled:
        index = max(disabled) + 1
    elif lines[document.stop - 1].endswith("\n"):
        index = document.stop
    else:
        # A line break after the last line could become part of a block scalar at the end.
        index = document.start
    return insert_block(lines, index, _block_style(entries, configs, " " * root.start_mark.column), disabled)


def _in_flow(text: str, root: Any, entries: Sequence[str], configs: dict[str, Any]) -> str:
    mapping = ["{", *(f"  {entry}," for entry in entries), "}"]
    mirrors = _pair(root, "mirrors")
    new_configs = f'"configs": {json.dumps(configs)}' if configs else ""
    if new_configs and _pair(root, "configs"):
        raise InputError(
            "it has empty configs in flow style, which cannot be extended",
            f"Replace them with: {new_configs}",
        )
    if mirrors:
        start, end = mirrors[1].start_mark.index, mirrors[1].end_mark.index
        return replace_span(text, start, end, [*mapping, *([f", {new_configs}"] if new_configs else ())])
    start = root.start_mark.index + 1
    mapping[0], mapping[-1] = '"mirrors": {', "},"
    return replace_span(text, start, start, [*mapping, *([f"{new_configs},"] if new_configs else ())])


def _root(text: str) -> Any:
    """Return the root node of the document; None if it is empty."""
    if not HAS_YAML:
        raise InputError(
            "it has entries of administrators and must be parsed, but the Python library PyYAML is missing for "
            f"{sys.executable}",
            "Install PyYAML on the node",
        )
    with _yaml_errors():
        # libyaml accepts JSON with tabs, as does the library of k3s, which is a port of it.
        return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _reject_duplicates(root: Any) -> None:
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
                raise UnparsableError(f"the key {repeated} occurs twice in one mapping")
            nodes += [value for _key, value in node.value]


@contextmanager
def _yaml_errors() -> Iterator[None]:
    """Report a problem and its line, without the text of the file, which may have passwords."""
    try:
        yield
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise UnparsableError(f"not valid YAML{line}: {problem}") from error


def _pair(root: Any, key: str) -> tuple[Any, Any] | None:
    """Return the nodes of a key and its value; None if the key is missing."""
    return next(((name, value) for name, value in root.value if name.value == key), None)


def _lines_of(text: str, first: Any, last: Any) -> range:
    """Return the line numbers from the start of one node to the end of another one's content."""
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


def _add_endpoint(upstream: str, existing: Any, mirror: Mirror) -> dict[str, Any]:
    entry = existing or {}
    endpoints = entry.get("endpoint") or [] if isinstance(entry, dict) else None
    if not isinstance(endpoints, list):
        raise InputError(f"its entry for {upstream} is not a mapping with a list as endpoint", "Correct the file")
    entry = {**entry, "endpoint": [mirror.url, *(endpoint for endpoint in endpoints if endpoint != mirror.url)]}
    prefix = mirror.repository_prefix(upstream)
    if prefix:
        rewrite = {"^(.*)$": f"{prefix}/$1"}
        if entry.get("rewrite", rewrite) != rewrite or entry["endpoint"] != [mirror.url]:
            raise InputError(
                f"it has endpoints or a rewrite for {upstream}, and a rewrite applies to all endpoints",
                "Push and mirror without qualify, or delete them",
            )
        entry["rewrite"] = rewrite
    elif entry.get("rewrite"):
        raise InputError(f"it has a rewrite for {upstream}, which would apply to the mirror too", "Delete it")
    return entry


def _read(text: str, which: str) -> dict[str, Any]:
    if not has_entries(text):
        return {}
    try:
        parsed = parse(text)
    except UnparsableError as error:
        raise InputError(f"it is{which} {error.message}", "Correct the file") from error
    if not isinstance(parsed, (dict, type(None))):
        raise InputError("it is not a mapping", "Correct the file")
    return parsed or {}


def _section(parsed: dict[str, Any], key: str) -> dict[str, Any]:
    section = parsed.get(key)
    if not isinstance(section, (dict, type(None))):
        raise InputError(f"its {key} are not a mapping", "Correct the file")
    return dict(section or {})
