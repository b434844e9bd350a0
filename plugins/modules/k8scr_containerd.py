#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_containerd
short_description: Make a node's containerd look for hosts.toml files
version_added: 0.1.0
description:
  - Sets C(config_path) in containerd's configuration where it is not set, so that containerd looks for C(hosts.toml)
    files, and finds out where it looks for them where it is.
  - What administrators wrote stays, and is what remains with O(state=absent).
  - A configuration with lines of administrators is backed up before each change. The backup is a new file beside it,
    with its owner and mode.
  - containerd parses a temporary copy of the new configuration before the file is replaced. If other settings than
    C(config_path) would change, the task fails and changes nothing.
  - A symbolic link to the configuration is followed, as with M(k8scr.core.k8scr_mirror).
  - containerd reads its configuration when it starts. This module does not restart it, it says that it has to be.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
options:
  config:
    description: containerd's configuration. It is made if it is not there.
    type: path
    default: /etc/containerd/config.toml
  program:
    description: containerd itself, which is asked what its configuration amounts to.
    type: str
    default: containerd
  certs_d:
    description: Where it shall look, if it does not look anywhere.
    type: path
    default: /etc/containerd/certs.d
  state:
    description:
      - With V(absent) what an earlier task has set is taken back. This needs no valid configuration.
      - It does not need containerd either, if Python on the node can parse TOML, as with M(k8scr.core.k8scr_mirror).
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: k8scr.core.k8scr_mirror
"""

EXAMPLES = r"""
- name: Make containerd look for hosts.toml files
  k8scr.core.k8scr_containerd:
  register: containerd

- name: Write them where it looks
  k8scr.core.k8scr_mirror:
    runtime: containerd
    path: "{{ containerd.certs_d }}"
    endpoint: http://10.96.10.20:5001
    upstreams: [docker.io]
"""

RETURN = r"""
certs_d:
  description: Where containerd looks, or will after its restart.
  returned: success
  type: str
  sample: /etc/containerd/certs.d
backups:
  description: The backup of the configuration, if it was changed and has lines of administrators.
  returned: success
  type: list
  elements: str
  sample: [/etc/containerd/config.toml.4711.2026-11-24@12:00:00~]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.containerd import run_containerd
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_local_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(
        {
            "config": {"type": "path", "default": "/etc/containerd/config.toml"},
            "program": {"type": "str", "default": "containerd"},
            "certs_d": {"type": "path", "default": "/etc/containerd/certs.d"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        run_containerd,
    )


if __name__ == "__main__":
    main()
