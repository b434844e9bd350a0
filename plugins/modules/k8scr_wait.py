#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_wait
short_description: Wait until a registry responds through the API server
version_added: 0.1.0
description:
  - Sends requests to a registry in the cluster, through the Pod proxy like pushes and pulls, until it responds.
  - If it does not respond, the message includes the reasons that the cluster reports. The module fails immediately if
    waiting does not help, for example if a permission is missing.
  - If the Pod does not exist, the module fails after a few seconds, unless a StatefulSet is about to create the Pod. To
    recognize this, it needs the permission C(get) on C(statefulsets).
  - It changes nothing. In check mode, it does not wait.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.attributes
  - k8scr.core.attributes.pod
  - k8scr.core.attributes.cluster
attributes:
  diff_mode:
    support: none
    details: Nothing changes.
options:
  wait_timeout:
    description: Seconds to wait for a response, from V(0) to V(2147483). The default is V(180).
    type: int
    default: 180
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Wait at most a minute until a registry with another name responds
  k8scr.core.k8scr_wait:
    namespace: images
    registry: store-0
    wait_timeout: 60
"""

RETURN = r"""
elapsed:
  description: Seconds until the registry responded.
  returned: success, not in check mode
  type: float
  sample: 2.3
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.wait import WAIT_ARGUMENT_SPEC, run_wait


def main() -> None:
    """Run the module."""
    run_module(WAIT_ARGUMENT_SPEC, run_wait)


if __name__ == "__main__":
    main()
