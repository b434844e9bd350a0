#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_send_part
short_description: Take a piece of a file that is sent in pieces
version_added: 0.1.0
description:
  - Tells what is there of a file, and adds the next piece to it. The file has its name when it is whole and its digest
    is the one that was asked for.
  - M(k8scr.core.k8scr_send) runs it on the host that it sends a file to. It speaks to no cluster, and needs no library.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
attributes:
  diff_mode:
    support: none
options:
  dest:
    description: The file's place, in a folder that exists.
    type: path
    required: true
  size:
    description: The bytes that the whole file has.
    type: int
    required: true
  digest:
    description: The digest of the whole file.
    type: str
    required: true
  piece:
    description:
      - A file with the piece that is to be added, which is deleted then.
      - Without one, it is only looked at what is there.
    type: path
  offset:
    description: Where the piece begins in the file. V(0) begins anew, whatever is there.
    type: int
    default: 0
seealso:
  - module: k8scr.core.k8scr_send
"""

EXAMPLES = r"""
- name: See what is there of a file
  k8scr.core.k8scr_send_part:
    dest: /var/tmp/app.tar
    size: 1254359040
    digest: sha256:80aaead7b92f5a2326bc7dc9ca249d39973cf3dbf4dc86244ebff1609bbc1e66
  register: begun

- name: Add all that is missing
  k8scr.core.k8scr_send_part:
    dest: /var/tmp/app.tar
    size: 1254359040
    digest: sha256:80aaead7b92f5a2326bc7dc9ca249d39973cf3dbf4dc86244ebff1609bbc1e66
    piece: /mnt/app.tar.rest
    offset: "{{ begun.part_size }}"
"""

RETURN = r"""
whole:
  description: Whether the file is in its place, with its size and its digest.
  returned: without O(piece)
  type: bool
  sample: false
part_size:
  description: The bytes that are there of a file that is not whole.
  returned: without O(piece)
  type: int
  sample: 838860800
part_digest:
  description: The digest of these. Empty where there are none.
  returned: without O(piece)
  type: str
  sample: sha256:1f42287a87e263b0472fee7e4619e980b52b3a87516d9a3b91ebde45f9522982
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_local_module import run_local_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.send_part import run_send_part


def main() -> None:
    """Run the module."""
    run_local_module(
        {
            "dest": {"type": "path", "required": True},
            "size": {"type": "int", "required": True},
            "digest": {"type": "str", "required": True},
            "piece": {"type": "path"},
            "offset": {"type": "int", "default": 0},
        },
        run_send_part,
    )


if __name__ == "__main__":
    main()
