# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 tests/cluster COMMAND``: see cli.py."""

import pathlib
import sys

# Python runs this folder as a script. Import it as the package `cluster` instead, so that its modules
# have the same names here and in the tests.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from cluster.cli import main  # noqa: E402

sys.exit(main())
