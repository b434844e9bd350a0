# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that show their progress."""

    DOCUMENTATION = r"""
options:
  progress:
    description:
      - How to show the progress while the task runs. The environment variable E(K8SCR_PROGRESS) of the controller sets
        it for tasks without this option, and has the same values.
      - V(auto), the default, updates one line in place if the output is a terminal and the task runs on one host.
        Otherwise, it prints lines. It shows nothing with callbacks whose output is for programs, such as C(json),
        C(oneline) and C(null).
      - V(lines) always prints lines. With callbacks whose output is for programs, it prints them to standard error.
        Set it for a log of the transfer.
      - V(none) shows nothing. Set it for output that is the same in every run.
      - Tasks with C(no_log) or C(async) never show their progress.
      - If the output of Ansible is a pipe, as in many CI systems, set E(PYTHONUNBUFFERED=1) for it. Otherwise, Python
        holds all output back until it has some kilobytes.
    type: str
    choices: [auto, lines, none]
    default: auto
  progress_interval:
    description: Seconds between two lines about running transfers, from V(1) to V(86400). By default, V(5). With
      several hosts, it is multiplied by the number of hosts that run the task at the same time. Raise it for shorter
      logs. Lines about finished images and a line that is updated in place do not depend on it.
    type: int
    default: 5
attributes:
  action:
    description: Has a corresponding action plugin, so some parts of the module run on the controller.
    support: full
"""
