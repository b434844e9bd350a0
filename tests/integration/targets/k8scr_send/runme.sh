#!/usr/bin/env bash
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A run that is killed while it sends over SSH, and one that goes on.

set -eux

inventory=$(python -c 'import json; print(json.load(open("../../integration_config.yml"))["k8scr_inventory"])')
folder=$(mktemp -d)
# Its workers have process groups of their own.
kill_all() {
    pkill -KILL -f "folder=$folder" || true
}
clean_up() {
    kill_all
    rm -rf "$folder"
}
trap clean_up EXIT

mkdir "$folder/node"
head -c 400M /dev/urandom >"$folder/file"
play=(ansible-playbook -i "$inventory" -e "folder=$folder" "$@")

part=$folder/node/.file.partial
"${play[@]}" send.yml &
for _ in $(seq 1200); do
    test -s "$part" && break
    sleep 0.05
done
kill_all
wait || true
# What runs on the node has heard nothing of that, and may still be at the piece that it was given.
flock "$part" true
test -s "$part"
test ! -e "$folder/node/file"

"${play[@]}" playbook.yml
