# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files of a node have to change for its runtime to use a mirror, or to no longer use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import SourceError
from . import hosts_toml, registries_conf, registries_yaml
from .checked_edit import edited, removed
from .files import Change, read_managed, read_text
from .managed_block import has_entries, taken_back
from .mirror import ALL, Mirror, check_upstreams
from .registries_yaml import YAML
from .toml_format import TOML

_PATHS = {
    "containerd": "/etc/containerd/certs.d",
    "containers": "/etc/containers/registries.conf.d",
    "k3s": "/etc/rancher/k3s/registries.yaml",
}
_HOSTS_TOML = "hosts.toml"
_CERTIFICATES = (".crt", ".cert", ".key")
_CA = "k8scr-core.crt"


def plan_mirror(options: Mapping[str, Any]) -> tuple[list[Change], list[str]]:
    """Return what ``k8scr_mirror`` has to do, and what the user should know.

    Args:
        options: The module's parameters.

    Raises:
        InputError: The options mean nothing, or do not go together with what administrators wrote.
        SourceError: A file cannot be read.
    """
    path = Path(options["path"] or _PATHS[options["runtime"]])
    upstreams = check_upstreams(options["upstreams"])
    mirror = Mirror.from_options(options) if options["state"] == "present" else None
    if options["runtime"] == "containerd":
        return _containerd(path, upstreams, mirror)
    if options["runtime"] == "containers":
        change, warnings = _containers(path, upstreams, mirror)
        return [change, *_containers_certificates(path, mirror)], warnings
    return [_k3s(path, upstreams, mirror)], []


def _containerd(certs_d: Path, upstreams: list[str], mirror: Mirror | None) -> tuple[list[Change], list[str]]:
    changes, warnings = [], []
    wanted: dict[Path, str] = {}
    if mirror is not None:
        wanted = {hosts_toml.folder_of(certs_d, upstream): upstream for upstream in upstreams}
    there = {file.parent for file in certs_d.glob(f"*/{_HOSTS_TOML}")}
    for folder in [*wanted, *sorted(there - set(wanted))]:
        file = folder / _HOSTS_TOML
        before = read_managed(file)
        after = removed(file, before, TOML)
        if mirror is not None and folder in wanted:
            after = edited(file, before or "", hosts_toml.with_mirror(before or "", wanted[folder], mirror), TOML)
            if before is None and _has_certificates(folder):
                warnings.append(
                    f"{folder} has certificates, which containerd looks for only where there is no {_HOSTS_TOML};"
                    f" name them in {file} with ca and client"
                )
        if folder in wanted or before != after:
            changes.append(Change(file, before, after, folder=True))
    if mirror is not None:
        warnings += _default_replaced(certs_d, changes)
    if ALL in wanted.values():
        warnings += _not_reached(certs_d, wanted)
    return changes, warnings


def _default_replaced(certs_d: Path, changes: list[Change]) -> list[str]:
    """Return a warning if an administrator's hosts for all registries do not apply to those that get a file now."""
    default = certs_d / "_default" / _HOSTS_TOML
    names = [change.path.parent.name for change in changes if change.before is None and change.path != default]
    if not names or not has_entries(taken_back(read_managed(default) or "")):
        return []
    return [f"{default} does not apply to {', '.join(names)} any more; write its hosts into their {_HOSTS_TOML} too"]


def _has_certificates(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix in _CERTIFICATES for file in folder.iterdir())


def _not_reached(certs_d: Path, wanted: Iterable[Path]) -> list[str]:
    folders = {folder for folder in certs_d.iterdir() if folder.is_dir()} if certs_d.is_dir() else set()
    own = ", ".join(sorted(folder.name for folder in folders - set(wanted)))
    if not own:
        return []
    return [f"{certs_d} has folders for {own}, for which '*' does not count; name them among the upstreams too"]


def _containers(folder: Path, upstreams: list[str], mirror: Mirror | None) -> tuple[Change, list[str]]:
    own = folder / registries_conf.DROP_IN
    before = read_text(own)
    if mirror is None:
        return Change(own, before, None, whole=True), []
    files = [folder.parent / "registries.conf", *sorted(folder.glob("*.conf"))]
    others = {str(file): read_text(file) or "" for file in files if file != own}
    after = registries_conf.drop_in(upstreams, mirror, others)
    return Change(own, before, after, whole=True), registries_conf.shadows(upstreams, others)


def _containers_certificates(folder: Path, mirror: Mirror | None) -> list[Change]:
    """What says whom to trust, which registries.conf cannot (containers-certs.d(5))."""
    certs_d = folder.parent / "certs.d"
    wanted = certs_d / mirror.address / _CA if mirror is not None and mirror.ca_cert else None
    there = set(certs_d.glob(f"*/{_CA}"))
    changes = [Change(file, read_text(file), None, whole=True, folder=True) for file in sorted(there - {wanted})]
    if mirror is not None and wanted is not None:
        certificates = read_text(Path(mirror.ca_cert))
        if certificates is None:
            raise SourceError(f"{mirror.ca_cert} is not there", "ca_cert is a file on the node; put it there first")
        changes.append(Change(wanted, read_text(wanted), certificates, whole=True, folder=True))
    return changes


def _k3s(path: Path, upstreams: list[str], mirror: Mirror | None) -> Change:
    before = read_managed(path)
    if mirror is None:
        after = removed(path, before, YAML)
    else:
        after = edited(path, before or "", registries_yaml.with_mirrors(before or "", upstreams, mirror), YAML)
    # It holds passwords (k3s, "Private Registry Configuration").
    return Change(path, before, after, mode=0o600)
