#!/usr/bin/env bash
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A separate playbook, because the nodes are its hosts.

set -eux

inventory=$(python -c 'import json; print(json.load(open("../../integration_config.yml"))["k8scr_inventory"])')
ansible-playbook -i "$inventory" -e @../../integration_config.yml playbook.yml "$@"
