# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that only writes the time of its start to a file."""

from __future__ import annotations

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Write the time in seconds since 1970 to the file ``path``."""
    now = time.time()
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}})
    Path(module.params["path"]).write_text(repr(now))
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
