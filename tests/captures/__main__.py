# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 tests/captures``: see cli.py."""

import pathlib
import sys

# Python runs a folder without its package: import it as a package.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from captures.cli import main  # noqa: E402

sys.exit(main())
