# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python3 tests/images [NAME…]`: make the images that are missing."""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a folder Python knows it by no name, and its modules find each other as a package only.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from images.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
