# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter ``images_in``; its documentation is in ``images_in.yml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.text_filter import images_in
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError


def _images_in(manifests: Any, guess: bool = False, extra_paths: Mapping[str, Any] | None = None) -> list[str]:
    try:
        return images_in(manifests, guess, extra_paths)
    except K8scrError as error:
        # With this import, Ansible sends the warnings of all code in this process to its display.
        from ansible.errors import AnsibleFilterError

        raise AnsibleFilterError(f"images_in: {error}") from error


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {"images_in": _images_in}
