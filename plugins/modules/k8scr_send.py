#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The action plugin of the same name does it.

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_send
short_description: Send a large file to a host, and go on where an earlier run was cut
version_added: 0.1.0
description:
  - Sends a file from the controller in pieces, over the connection that the inventory gives. After a break the next run
    sends what is missing. The file has its name when it is whole and its SHA-256 is the original's.
  - Pieces are of 4 MiB at first and of 1 to 256 MiB then, so that each takes about ten seconds. That is what a break
    costs, and the room that is needed for a while in the folders C(local_tmp) and C(remote_tmp) of Ansible's
    configuration. A break may leave a piece in the latter, as it does of any task that sends files.
  - A file that was there gives its owner and its mode to the one that replaces it.
  - The role P(k8scr.core.preload#role) uses it for image archives.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
attributes:
  action:
    description: Has an action plugin, so that part of it runs on the controller.
    support: full
  diff_mode:
    support: none
options:
  src:
    description: The file on the controller, looked for as M(ansible.builtin.copy) does, and sent as it is.
    type: str
    required: true
  dest:
    description:
      - Its place on the host, in a folder that exists.
      - What has come of it is beside it until it is whole, as C(.NAME.partial).
    type: str
    required: true
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Send an archive over a line that breaks now and then
  k8scr.core.k8scr_send:
    src: /media/app/app.tar
    dest: /var/tmp/app.tar
"""

RETURN = r"""
dest:
  description: Its place.
  returned: success
  type: str
  sample: /var/tmp/app.tar
size:
  description: The bytes that it has.
  returned: success
  type: int
  sample: 1254359040
sent:
  description: The bytes that this run has sent.
  returned: success
  type: int
  sample: 415498240
whole:
  description: Whether the host had the whole file before the task.
  returned: success
  type: bool
  sample: false
"""
