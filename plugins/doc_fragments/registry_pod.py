# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say which Pod is the registry."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the registry is."""

    DOCUMENTATION = r"""
options:
  namespace:
    description: The namespace of the registry's Pod.
    type: str
    default: k8scr
  registry:
    description: The name of the registry's Pod.
    type: str
    default: k8scr-0
  registry_port:
    description:
      - The port that the registry listens on in its Pod.
      - At the write port of the role P(k8scr.core.registry#role), the registry serves only below a secret path. The
        module reads the path from the Secret C(NAME-write), where the Pod is C(NAME-0); users need C(get) on it. A
        registry without such a Secret needs nothing but C(pods/proxy).
    type: int
    default: 5000
  registry_scheme:
    description: What the registry speaks on that port.
    type: str
    choices: [http, https]
    default: http
"""
