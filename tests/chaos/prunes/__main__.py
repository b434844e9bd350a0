# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 tests/chaos/prunes``: see cli.py."""

import os
import pathlib
import sys

# Python runs a folder without its package: import it as a package. Child processes find it through PYTHONPATH.
sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")])])

if __name__ == "__main__":
    from chaos.prunes.cli import main

    sys.exit(main())
