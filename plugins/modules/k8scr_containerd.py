#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_containerd
short_description: Configure a node's containerd to read hosts.toml files
version_added: 0.1.0
description:
  - Sets C(config_path) in containerd's configuration if it is unset, so that containerd reads C(hosts.toml) files. If
    it is set, returns the configured folder.
  - Entries of administrators stay in effect. O(state=absent) leaves only these.
  - A configuration with entries of administrators is backed up before each change. The backup is a new file next to it,
    with the same owner and mode.
  - containerd parses a temporary copy of the new configuration before the file is replaced. If settings other than
    C(config_path) would change, or if another process changes the file meanwhile, the task fails and changes nothing.
  - A symbolic link to the configuration is followed under the same conditions as in M(k8scr.core.k8scr_mirror).
  - containerd reads its configuration when it starts. This module does not restart it; restart it after a change.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
options:
  config:
    description: Path of containerd's configuration, created if missing. The default is V(/etc/containerd/config.toml).
    type: path
    default: /etc/containerd/config.toml
  program:
    description: Command of containerd, which prints its effective configuration. The default is V(containerd).
    type: str
    default: containerd
  certs_d:
    description: Folder to set in C(config_path) if it is unset. The default is V(/etc/containerd/certs.d).
    type: path
    default: /etc/containerd/certs.d
  state:
    description: State of the setting. With V(present), the default, it is set. V(absent) reverts the change of an
      earlier task, and does not require a valid configuration. If Python on the node can parse TOML, as for
      M(k8scr.core.k8scr_mirror), it does not require containerd either.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: k8scr.core.k8scr_mirror
"""

EXAMPLES = r"""
- name: Configure containerd to read hosts.toml files
  k8scr.core.k8scr_containerd:
  register: containerd

- name: Write these files to the configured folder
  k8scr.core.k8scr_mirror:
    runtime: containerd
    path: "{{ containerd.certs_d }}"
    endpoint: http://10.96.10.20:5001
    upstreams: [docker.io]
"""

RETURN = r"""
certs_d:
  description: The folder of C(hosts.toml) folders, which containerd reads at the latest after its restart.
  returned: success
  type: str
  sample: /etc/containerd/certs.d
backups:
  description: Backup of the configuration, if it changed and has entries of administrators.
  returned: success
  type: list
  elements: str
  sample: [/etc/containerd/config.toml.4711.2026-11-24@12:00:00~]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.containerd import (
    CONTAINERD_ARGUMENT_SPEC,
    run_containerd,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(CONTAINERD_ARGUMENT_SPEC, run_containerd)


if __name__ == "__main__":
    main()
