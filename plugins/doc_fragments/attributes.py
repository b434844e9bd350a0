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

    CLUSTER = r"""
options: {}
requirements:
  - requests
  - kubernetes >= 24.2.0, without 36.0.0 and 36.0.1
attributes:
  action_group:
    description: Use C(group/k8scr.core.k8scr) in C(module_defaults) to set options of all modules at once.
    support: full
    membership:
      - k8scr.core.k8scr
"""
