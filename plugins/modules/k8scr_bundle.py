#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_bundle
"""

EXAMPLES = ""
RETURN = ""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle import run_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_settings import BUNDLE_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.source_settings import SOURCES_RULES


def main() -> None:
    """Run the module."""
    run_local_module(
        BUNDLE_ARGUMENT_SPEC,
        lambda module: run_bundle(module.params, module.check_mode),
        libraries=("requests",),
        **SOURCES_RULES,
    )


if __name__ == "__main__":
    main()
