#!/usr/bin/env bash
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Each scenario is a host of one play, so that scenarios wait for their Pods in parallel.
set -eux
exec ansible-playbook playbook.yml -i inventory.yml --forks 12 "$@"
