#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_send_part
short_description: Receive a piece of a file that is copied in pieces
version_added: 0.1.0
description:
  - Returns the state of a file, or appends the next piece to its partial file. The file gets its name when it is
    complete and has the given digest.
  - M(k8scr.core.k8scr_send) runs it on the host to which it copies a file. It needs no cluster and no library.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
attributes:
  diff_mode:
    support: none
options:
  dest:
    description: Path of the file, in an existing folder.
    type: path
    required: true
  size:
    description: Size of the complete file in bytes, from V(0) to V(9223372036854775807).
    type: int
    required: true
  digest:
    description: Digest of the complete file.
    type: str
    required: true
  piece:
    description: Path of a file with the piece to append. The module deletes it afterwards, if its user may do that. By
      default, the module only returns the state of the file.
    type: path
  piece_dir:
    description: Path of the folder that receives the pieces. By default, its free space is not returned.
    type: path
  offset:
    description: Offset of the piece in the file, from V(0) to V(9223372036854775807). V(0), the default, discards the
      existing partial file.
    type: int
    default: 0
seealso:
  - module: k8scr.core.k8scr_send
"""

EXAMPLES = r"""
- name: Return the state of a file
  k8scr.core.k8scr_send_part:
    dest: /var/tmp/app.tar
    size: 1254359040
    digest: sha256:80aaead7b92f5a2326bc7dc9ca249d39973cf3dbf4dc86244ebff1609bbc1e66
  register: received

- name: Append the missing data
  k8scr.core.k8scr_send_part:
    dest: /var/tmp/app.tar
    size: 1254359040
    digest: sha256:80aaead7b92f5a2326bc7dc9ca249d39973cf3dbf4dc86244ebff1609bbc1e66
    piece: /mnt/app.tar.rest
    offset: "{{ received.part_size }}"
"""

RETURN = r"""
whole:
  description: Whether the file exists with the given size and digest.
  returned: without O(piece)
  type: bool
  sample: false
part_size:
  description: Size of the partial file in bytes, if the file is not complete.
  returned: without O(piece)
  type: int
  sample: 838860800
part_digest:
  description: Digest of the partial file; empty if it is missing.
  returned: without O(piece)
  type: str
  sample: sha256:1f42287a87e263b0472fee7e4619e980b52b3a87516d9a3b91ebde45f9522982
piece_room:
  description: Free space in bytes for the next piece in the folder O(piece_dir).
  returned: with O(piece_dir)
  type: int
  sample: 51539607552
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.send import (
    SEND_PART_ARGUMENT_SPEC,
    run_send_part,
)


def main() -> None:
    """Run the module."""
    run_local_module(SEND_PART_ARGUMENT_SPEC, run_send_part)


if __name__ == "__main__":
    main()
