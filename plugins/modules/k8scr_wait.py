#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_wait
short_description: Wait until a registry answers through the API server
version_added: 0.1.0
description:
  - Asks a registry in the cluster, by the way that pushes and pulls take, until it answers.
  - When it does not, the message says why in the cluster's own words. The module fails at once where
    waiting does not help, as without permission, and after a few seconds where there is no such Pod.
  - It changes nothing. In check mode nothing is waited for.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry_pod
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
attributes:
  diff_mode:
    support: none
    details: Nothing changes.
options:
  wait_timeout:
    description: Seconds to wait.
    type: int
    default: 180
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Wait until the registry answers
  k8scr.core.k8scr_wait:

- name: Wait at most a minute for a registry of another name
  k8scr.core.k8scr_wait:
    namespace: images
    registry: store-0
    wait_timeout: 60
"""

RETURN = r"""
elapsed:
  description: Seconds until it answered.
  returned: success, not in check mode
  type: float
  sample: 2.3
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.wait import WAIT_ARGUMENT_SPEC, run_wait


def main() -> None:
    """Run the module."""
    run_module(WAIT_ARGUMENT_SPEC, run_wait)


if __name__ == "__main__":
    main()
