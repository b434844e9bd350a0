# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reject files that are encrypted with Ansible Vault. Only the controller has the password."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InputError
from .file_access import is_file

_BEGIN = b"$ANSIBLE_VAULT;"


def reject_vault(content: bytes, path: object, option: str | None = None) -> None:
    """Raise an error if a file's content is encrypted with Ansible Vault.

    The advice names the option that accepts the decrypted content in place of the path, if any.

    Raises:
        InputError: The content is encrypted.
    """
    if content.lstrip().startswith(_BEGIN):
        advice = "Decrypt the file with ansible-vault, or have the module ansible.builtin.copy write it decrypted"
        if option:
            lookup = f"{{{{ lookup('ansible.builtin.file', '{path}') }}}}"
            advice = f'Give its content, which Ansible decrypts on the controller: {option}: "{lookup}"'
        raise InputError(f"{path} is encrypted by Ansible Vault, and the module has no password for it", advice)


def reject_vaulted_files(paths: Iterable[str | None]) -> None:
    """Raise an error if a file is encrypted with Ansible Vault. Missing, unreadable and special files are skipped.

    Raises:
        InputError: A file is encrypted.
    """
    for path in paths:
        if not path or not is_file(path):
            continue
        try:
            with open(path, "rb") as file:
                beginning = file.read(64)
        except OSError:
            continue
        reject_vault(beginning, path)
