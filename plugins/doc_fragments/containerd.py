# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for a node's containerd."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that use containerd's client."""

    DOCUMENTATION = r"""
options:
  socket:
    description: Path of containerd's socket. The default is V(/run/containerd/containerd.sock).
    type: path
    default: /run/containerd/containerd.sock
  containerd_namespace:
    description: Namespace in containerd. The default is V(k8s.io), which Kubernetes uses.
    type: str
    default: k8s.io
  containerd:
    description: Command of containerd, which prints its effective configuration. The default is V(containerd).
    type: str
    default: containerd
  config:
    description: Path of containerd's configuration. The default is V(/etc/containerd/config.toml).
    type: path
    default: /etc/containerd/config.toml
"""
