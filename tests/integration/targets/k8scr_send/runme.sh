#!/usr/bin/env bash
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Kill a run while it sends a file over SSH, and resume in a second run.

set -eux

inventory=$(python -c 'import json; print(json.load(open("../../integration_config.yml"))["k8scr_inventory"])')
folder=$(mktemp -d)
# Ansible's workers run in separate process groups.
kill_all() {
    pkill -KILL -f "folder=$folder" || true
}
clean_up() {
    kill_all
    rm -rf "$folder"
}
trap clean_up EXIT

chmod 755 "$folder"
mkdir "$folder/node" "$folder/small" "$folder/unprivileged"
head -c 400M /dev/urandom >"$folder/file"
head -c 40M /dev/urandom >"$folder/medium"
play=(ansible-playbook -i "$inventory" -e "folder=$folder" "$@")

partial=$folder/node/.file.partial
"${play[@]}" send.yml &
for _ in $(seq 1200); do
    test -s "$partial" && break
    sleep 0.05
done
kill_all
wait || true
# The module on the node is still running and may still be writing its current piece.
flock "$partial" true
test -s "$partial"
test ! -e "$folder/node/file"

"${play[@]}" playbook.yml
