# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say how images travel to a registry and from it."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of whatever moves images."""

    DOCUMENTATION = r"""
options:
  qualify:
    description:
      - Whether an image's repository in the cluster's registry begins with the host of its name, as in
        C(registry.example.com/team/api), which keeps equal paths of two registries apart.
      - Without it the host is left out, as in C(team/api). A colon before a port becomes an underscore.
    type: bool
    default: false
  connections:
    description: How many requests may be under way at once.
    type: int
    default: 4
  bandwidth:
    description:
      - How many bytes a second the task may move, over all its connections, as in V(20M).
      - Images travel through the cluster's control plane. Without a limit they take what there is.
    type: bytes
  chunk_size:
    description:
      - How many bytes one request may carry, as in V(64M), where a load balancer limits bodies or cuts long requests.
      - Without it a blob is sent in one request, and in smaller ones when that does not get through.
      - It also limits what is sent again after a break, to one chunk for each connection. Without it that is what the
        API server and the registry had taken and not stored yet, some 3 to 10 MB for each connection, and up to 16
        where the registry had come to a standstill before.
    type: bytes
  timeout:
    description:
      - Seconds of silence after which a connection counts as lost.
      - There is no limit to the time that a transfer may take.
    type: int
    default: 60
  retry_timeout:
    description:
      - Seconds that something may go on failing before it is given up, as while the API server or the registry
        restarts. What gets on, however slowly, is not given up.
      - Before anything has worked, it is tried just three times, so that a wrong address is told at once.
    type: int
    default: 120
  fail_fast:
    description: Whether the first image that fails ends the task. Without it the others are still delivered.
    type: bool
    default: false
"""
