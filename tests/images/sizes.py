# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of sizes in bytes."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
