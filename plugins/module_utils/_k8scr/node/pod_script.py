# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell scripts of Pods that configure their node; the controller computes what they write (:mod:`.pod_answer`).

A file's name and content are base64 text in all input and output, so that a shell never interprets them.
"""

from __future__ import annotations

NODE_SCRIPT = r"""
# Runs in the root folder of the node, with its programs. Arguments: observe, manifest, dump or apply, and their own.
set -u
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() { printf '%s\n' "$1" >&2; exit 1; }
encode() { base64 | tr -d '\n'; }
digest() { sha256sum | cut -c 1-64; }
record() { printf '%s %s %s %s\n' "$1" "$2" "$(printf %s "$3" | encode)" "$4"; }

# Set target to the file that symbolic links lead to. Follow only those of root in folders that only root can change.
resolve() {
    target=$1
    count=0
    while [ -L "$target" ]; do
        count=$((count + 1))
        [ "$count" -le 40 ] || return 1
        folder=$(dirname "$target")
        [ "$(stat -c %u "$target"):$(stat -L -c %u "$folder")" = 0:0 ] || return 2
        case $(stat -L -c %a "$folder") in *[2367]) return 2 ;; esac
        link=$(readlink "$target")
        case $link in /*) target=$link ;; *) target=$folder/$link ;; esac
    done
    [ "$target" = "$1" ] || [ -f "$target" ]
}

# Print records: kind, digest, name, content.
observe() {
    while [ "$#" -gt 0 ]; do
        if [ "$1" = program ]; then
            observe_program "$2" "$3"
            shift 3
        elif [ "$1" = version ]; then
            observe_version "$2"
            shift 2
        else
            IFS=
            for path in $2; do
                [ ! -e "$path" ] && [ ! -L "$path" ] || "observe_$1" "$path"
            done
            unset IFS
            shift 2
        fi
    done
}

observe_name() {
    case $1 in *~) return ;; esac # a backup
    if [ -d "$1" ]; then record folder - "$1" -; else record name - "$1" -; fi
}

observe_content() {
    resolve "$1"
    case $? in
        1) record dangling - "$1" "$(printf %s "$target" | encode)"; return ;;
        2) record untrusted - "$1" "$(printf %s "$target" | encode)"; return ;;
    esac
    kind=file
    [ ! -L "$1" ] || kind=link
    if [ ! -f "$target" ]; then
        record other - "$1" -
    elif [ "$(wc -c <"$target")" -gt 4194304 ]; then
        record large - "$1" -
    else
        record "$kind" "$(digest <"$target")" "$1" "$(encode <"$target")"
    fi
}

observe_version() {
    version=$("$1" --version 2>/dev/null) || version=
    record version "$(printf '%s\n' "$version" | digest)" "$1" "$(printf '%s\n' "$version" | encode)"
}

observe_program() {
    if ! command -v "$1" >/dev/null; then
        record missing - "$1" -
    elif [ -e "$2" ]; then
        print_dump "$1" --config "$2" config dump
    else
        print_dump "$1" config default
    fi
}

# The digest omits the imported files, which containerd 1 prints in random order; their settings are in the output.
print_dump() {
    if printed=$("$@" 2>/dev/null); then
        counted=$(printf '%s\n' "$printed" | sed '/^imports = /d' | digest)
        record dump "$counted" "$1" "$(printf '%s\n' "$printed" | encode)"
    else
        record invalid - "$1" "$("$@" 2>&1 >/dev/null | encode)"
    fi
}

# Print the effective configuration for another text of a file. Its relative imports work only in the file's folder.
dump() {
    program=$1 config=$2 name=$3 size=$4
    resolve "$config" || :
    folder=$(dirname "$target")
    [ -d "$folder" ] || folder=/tmp
    copy=$folder/$name
    trap 'rm -f "$copy"' EXIT
    trap 'exit 1' HUP INT TERM
    (set -C && head -c "$size" >"$copy") || fail "cannot write to $folder"
    record copy - "$copy" -
    print_dump "$program" --config "$copy" config dump
}

# Change files as the lines of the input say: action, digests before and after, mode, options, content, name.
apply() {
    head -c "$1" | while read -r action before after mode options content name; do
        path=$(printf %s "$name" | base64 -d)
        resolve "$path" || fail "$path: its symbolic link is not followed"
        current=-
        [ ! -e "$target" ] || current=$(digest <"$target") || exit 1
        if [ "$current" = "$after" ]; then continue; fi
        [ "$current" = "$before" ] || fail "$path is not changed: another process has just changed it"
        backup=
        case $options in
            *b*)
                backup="$target.$$.$(date '+%Y-%m-%d@%H:%M:%S')~"
                cp -p "$target" "$backup" || fail "$path cannot be backed up"
                ;;
        esac
        if [ "$action" = delete ] && [ ! -L "$path" ]; then
            rm "$target" || fail "$path cannot be deleted"
            case $options in *f*) rmdir "$(dirname "$target")" 2>/dev/null ;; esac
        else
            replace "$target" "$mode" "$content" || {
                [ -z "$backup" ] || rm -f "$backup"
                fail "$path cannot be written"
            }
        fi
        [ -z "$backup" ] || record backup - "$backup" -
    done
}

replace() {
    folder=$(dirname "$1")
    (umask 022 && mkdir -p "$folder") && temporary=$(mktemp "$folder/.k8scr-XXXXXX") || return 1
    if [ "$3" = - ]; then :; else printf %s "$3" | base64 -d; fi >"$temporary" && take_mode "$1" "$2" &&
        mv "$temporary" "$1" || { rm -f "$temporary"; return 1; }
}

take_mode() {
    if [ -e "$1" ]; then
        chown "$(stat -c %u:%g "$1")" "$temporary" && chmod "$(stat -c %a "$1")" "$temporary" || return 1
        # The label of SELinux, where the node has it.
        chcon --reference="$1" "$temporary" 2>/dev/null || :
    else
        chmod "$2" "$temporary"
    fi
}

case $1 in
    observe) shift; observe "$@" ;;
    manifest) shift; observe "$@" | cut -d ' ' -f 1-3 | sort -u ;;
    dump) shift; dump "$@" ;;
    apply) shift; apply "$@" ;;
esac
"""
"""The POSIX shell script that runs in the root folder of the node."""

NEW_NODE_SCRIPT = r"""
# Configures a node whose files are known: /answers has the changes by the digest of the files' names and digests.
# Arguments: what to observe at first, as the other script takes it.
set -u
node() { chroot /host sh -c "$K8SCR_SCRIPT" k8scr "$@"; }
newline='
'
key() {
    manifest=$(node manifest "$@") || exit 1
    # A node without any of the files has an empty manifest.
    key=$(printf %s "$manifest${manifest:+$newline}" | sha256sum | cut -c 1-64)
}
key "$@"
if [ -f "/answers/folder.$key" ]; then
    folder=$(cat "/answers/folder.$key")
    key "$@" name "$folder/*" name "$folder/*/*" content "$folder/*/hosts.toml"
fi
if [ ! -f "/answers/$key" ]; then
    echo "This node has configuration files that no configured node has. Run the role node_mirror again."
    exit 1
fi
node apply "$(wc -c <"/answers/$key")" <"/answers/$key" >/dev/null
"""
"""The script of the DaemonSet's Pods, in their own root folder."""
