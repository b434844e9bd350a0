# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan which files of a node change when its container runtime starts or stops using a mirror."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import SourceError
from . import hosts_toml, registries_conf, registries_yaml
from .checked_edit import checked_edit, checked_removal, edit_errors
from .config_files import FileChange, read_managed_file, read_text
from .managed_block import has_entries, remove_block
from .mirror import ALL_REGISTRIES, Mirror
from .registries_yaml import YAML
from .toml_parser import TOML

DEFAULT_PATHS = {
    "containerd": "/etc/containerd/certs.d",
    "containers": "/etc/containers/registries.conf.d",
    "k3s": "/etc/rancher/k3s/registries.yaml",
}
"""The configuration of each runtime."""
_HOSTS_TOML = "hosts.toml"
_CERTIFICATE_SUFFIXES = (".crt", ".cert", ".key")
_CA_FILE = "k8scr-core.crt"


def plan_mirror(
    runtime: str, path: Path, upstreams: Sequence[str], mirror: Mirror | None, exclude: Sequence[str] = ()
) -> tuple[list[FileChange], list[str]]:
    """Plan the changes that make a runtime use a mirror, or none (None); also return warnings for the user.

    Args:
        runtime: A key of :data:`DEFAULT_PATHS`.
        path: The file or folder of the runtime's configuration; see :data:`DEFAULT_PATHS`.
        upstreams: The hosts of the registries to mirror, or ``*`` for all.
        exclude: The hosts of the registries to which ``*`` does not apply.

    Raises:
        InputError: The settings conflict with each other or with entries of administrators.
        SourceError: A file cannot be read.
    """
    if runtime == "containerd":
        return _plan_containerd(path, upstreams, mirror, exclude)
    if runtime == "containers":
        change, warnings = _plan_containers(path, upstreams, mirror)
        return [change, *_plan_containers_certificates(path, mirror)], warnings
    return [_plan_k3s(path, upstreams, mirror, exclude)], []


def _plan_containerd(
    certs_d: Path, upstreams: Sequence[str], mirror: Mirror | None, exclude: Sequence[str]
) -> tuple[list[FileChange], list[str]]:
    changes, warnings = [], []
    configured: dict[Path, str] = {}
    excluded: list[Path] = []
    if mirror is not None:
        configured = {hosts_toml.host_folder(certs_d, upstream): upstream for upstream in upstreams}
        if ALL_REGISTRIES in upstreams:
            excluded = [hosts_toml.host_folder(certs_d, registry) for registry in exclude]
    existing = {file.parent for file in certs_d.glob(f"*/{_HOSTS_TOML}")}
    for folder in [*configured, *excluded, *sorted(existing - {*configured, *excluded})]:
        file = folder / _HOSTS_TOML
        before = read_managed_file(file)
        after = checked_removal(file, before, TOML)
        # Hosts for all registries do not apply to a registry with a folder.
        if folder in excluded and after is None and (not folder.is_dir() or [*folder.iterdir()] == [file]):
            after = hosts_toml.excluded_text()
        if mirror is not None and folder in configured:
            with edit_errors(file):
                after = hosts_toml.add_mirror(before or "", configured[folder], mirror)
            after = checked_edit(file, before or "", after, TOML)
            if before is None and _has_certificates(folder):
                warnings.append(
                    f"{folder} has certificates, which containerd ignores in folders with a {_HOSTS_TOML};"
                    f" set ca and client in {file}"
                )
        if folder in configured or before != after or (folder in excluded and before is not None):
            changes.append(FileChange(file, before, after, folder=True))
    if mirror is not None:
        warnings += _warn_of_overridden_default(certs_d, changes)
    if ALL_REGISTRIES in configured.values():
        warnings += _warn_of_other_folders(certs_d, [*configured, *excluded])
    return changes, warnings


def _warn_of_overridden_default(certs_d: Path, changes: list[FileChange]) -> list[str]:
    """Return a warning if an administrator's hosts for all registries do not apply to registries with a new file."""
    default = certs_d / "_default" / _HOSTS_TOML
    names = [change.path.parent.name for change in changes if change.before is None and change.path != default]
    if not names or not has_entries(remove_block(read_managed_file(default) or "")):
        return []
    return [f"{default} no longer applies to {', '.join(names)}; copy its hosts to their {_HOSTS_TOML}"]


def _has_certificates(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix in _CERTIFICATE_SUFFIXES for file in folder.iterdir())


def _warn_of_other_folders(certs_d: Path, configured: Iterable[Path]) -> list[str]:
    folders = {folder for folder in certs_d.iterdir() if folder.is_dir()} if certs_d.is_dir() else set()
    names = ", ".join(sorted(folder.name for folder in folders - set(configured)))
    if not names:
        return []
    return [f"{certs_d} has folders for {names}, to which '*' does not apply; add them to upstreams"]


def _plan_containers(folder: Path, upstreams: Sequence[str], mirror: Mirror | None) -> tuple[FileChange, list[str]]:
    drop_in = folder / registries_conf.DROP_IN
    before = read_text(drop_in)
    if mirror is None:
        return FileChange(drop_in, before, None, whole=True), []
    files = [folder.parent / "registries.conf", *sorted(folder.glob("*.conf"))]
    others = {str(file): read_text(file) or "" for file in files if file != drop_in}
    after = registries_conf.drop_in_text(upstreams, mirror, others)
    return FileChange(drop_in, before, after, whole=True), registries_conf.precedence_warnings(upstreams, others)


def _plan_containers_certificates(folder: Path, mirror: Mirror | None) -> list[FileChange]:
    """Plan the copy of the certificate authorities, which registries.conf cannot name (containers-certs.d(5))."""
    certs_d = folder.parent / "certs.d"
    copy = certs_d / mirror.address / _CA_FILE if mirror is not None and mirror.ca_cert else None
    existing = set(certs_d.glob(f"*/{_CA_FILE}"))
    changes = [FileChange(file, read_text(file), None, whole=True, folder=True) for file in sorted(existing - {copy})]
    if mirror is not None and copy is not None:
        certificates = read_text(Path(mirror.ca_cert))
        if certificates is None:
            raise SourceError(f"ca_cert {mirror.ca_cert} does not exist on the node", "Copy the file to the node first")
        changes.append(FileChange(copy, read_text(copy), certificates, whole=True, folder=True))
    return changes


def _plan_k3s(path: Path, upstreams: Sequence[str], mirror: Mirror | None, exclude: Sequence[str]) -> FileChange:
    before = read_managed_file(path)
    if mirror is None:
        after = checked_removal(path, before, YAML)
    else:
        with edit_errors(path):
            after = registries_yaml.add_mirrors(before or "", upstreams, mirror, exclude)
        after = checked_edit(path, before or "", after, YAML)
    # The file may have passwords (k3s, "Private Registry Configuration").
    return FileChange(path, before, after, mode=0o600)
