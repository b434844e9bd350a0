# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for the registry's Pod."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that connect to a registry."""

    DOCUMENTATION = r"""
options:
  namespace:
    description: Namespace of the registry's Pod. The default is V(k8scr).
    type: str
    default: k8scr
  registry:
    description: Name of the registry's Pod. The default is V(k8scr-0), the Pod of the role P(k8scr.core.registry#role).
    type: str
    default: k8scr-0
  registry_port:
    description: Port of the registry in its Pod, from V(1) to V(65535). The default is the write port of the role
      P(k8scr.core.registry#role). On that port, the registry serves only requests below its secret write path. The
      module reads the path from the Secret C(NAME-write) for the Pod C(NAME-0); users need C(get) on it. A registry
      without such a Secret requires only C(pods/proxy).
    type: int
    default: 5000
  registry_scheme:
    description: Protocol of the registry on O(registry_port). The default is V(http).
    type: str
    choices: [http, https]
    default: http
"""
