# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attributes of the collection's modules."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of all modules, and those of modules that connect to a cluster."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in C(check_mode)), in diff mode.
    support: full
"""

    # The first of several fragments with an attribute sets it.
    COPIES = r"""
options: {}
attributes:
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in C(check_mode)), in diff mode.
    details: Each changed tag has a line with its digest before and one with its digest after the task, the number of
      layers to copy or mount, and the bytes to copy. The sizes of layers that the task compresses are uncompressed
      sizes.
    support: full
"""

    CLUSTER = r"""
options: {}
requirements:
  - requests
  - kubernetes >= 24.2.0, without 36.0.0 and 36.0.1
attributes:
  action_group:
    description: Use C(group/k8scr.core.k8scr) in C(module_defaults) to set the cluster and the credentials for all
      modules at once.
    support: full
    membership:
      - k8scr.core.k8scr
"""

    POD = r"""
options: {}
attributes:
  action_group:
    description: Use C(module_defaults) to set options of several modules at once. C(group/k8scr.core.k8scr) sets the
      cluster and the credentials, and C(group/k8scr.core.registry) also the registry's Pod.
    support: full
    membership:
      - k8scr.core.k8scr
      - k8scr.core.registry
"""

    IMAGES = r"""
options: {}
attributes:
  action_group:
    description: Use C(module_defaults) to set options of several modules at once. C(group/k8scr.core.k8scr) sets the
      cluster and the credentials, C(group/k8scr.core.registry) also the registry's Pod, and C(group/k8scr.core.images)
      all options that M(k8scr.core.k8scr_push) and M(k8scr.core.k8scr_pull) share.
    support: full
    membership:
      - k8scr.core.k8scr
      - k8scr.core.registry
      - k8scr.core.images
"""
