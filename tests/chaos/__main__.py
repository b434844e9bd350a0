# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 tests/chaos``: see cli.py."""

import os
import pathlib
import sys

# Started as a folder, not as a package: make it the package that it is. The processes that we start know where it is
# from the environment.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")])])

if __name__ == "__main__":
    from chaos.cli import main

    sys.exit(main())
