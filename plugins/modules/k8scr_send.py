#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Implemented by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_send
short_description: Copy a large file to a host and resume interrupted transfers
version_added: 0.1.0
description:
  - Copies a file from the controller in pieces, over the connection of the inventory. After an interruption, the next
    run copies only the missing data. The file gets its name when it is complete and has the original's SHA-256.
  - The first piece has 4 MiB. Later pieces have 1 to 256 MiB, so that each takes about ten seconds. An interruption
    loses one piece at most. The folders C(local_tmp) and C(remote_tmp) of Ansible's configuration need temporary space
    for one piece. A piece uses at most half of the free space in C(remote_tmp), which must have 2 MiB or more. An
    interruption may leave a piece there, as with any task that copies files.
  - With C(become) to an unprivileged user, the host needs the program C(setfacl), as for M(ansible.builtin.copy).
  - The new file keeps the owner and mode of the file that it replaces.
  - The role P(k8scr.core.preload#role) uses this module for image archives.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.progress
  - k8scr.core.attributes
attributes:
  diff_mode:
    support: none
options:
  src:
    description: Path of the file on the controller, searched for as in M(ansible.builtin.copy). It is copied unchanged.
    type: str
    required: true
  dest:
    description: Path of the file on the host, in an existing folder. Until the file is complete, the received data is
      in the partial file C(.NAME.partial) next to it.
    type: str
    required: true
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Copy an archive over an unreliable connection
  k8scr.core.k8scr_send:
    src: /media/app/app.tar
    dest: /var/tmp/app.tar
    progress: lines
"""

RETURN = r"""
dest:
  description: Path of the file on the host.
  returned: success
  type: str
  sample: /var/tmp/app.tar
size:
  description: Size of the file in bytes.
  returned: success
  type: int
  sample: 1254359040
sent:
  description: Bytes that this run copied.
  returned: success
  type: int
  sample: 415498240
whole:
  description: Whether the host had the complete file before the task.
  returned: success
  type: bool
  sample: false
"""
