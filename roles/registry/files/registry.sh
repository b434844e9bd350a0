# shellcheck shell=sh
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Serve the write port of the registry, and run the registry's garbage collector on request.
#
# Usage: sh registry.sh CONFIG REQUEST STATE STORAGE
#   CONFIG   folder with registry.yaml (the write port) and collection.yaml (the same port, read-only)
#   REQUEST  file with the ID of the last request; it may be missing
#   STATE    folder that outlasts a restart of the container, but not the Pod
#   STORAGE  root folder of the registry's storage; empty for S3
#
# The collector needs a storage without changes. So the script stops the writing process, serves the port read-only
# meanwhile, and starts the writing process again. The header K8scr-Collection of all responses has the state. The
# file STATE/result has the value of the header; a collection that was interrupted has no result, so it starts again.

set -u
config=$1 request_file=$2 state=$3 storage=$4
root=$storage/docker/registry/v2
server='' previous='' collector='' request='' result=''
# Seconds for the previous process to finish its requests; its configuration allows 20.
longest_drain=30
# Starts of one collection, for example if the container exceeds its memory limit each time.
most_attempts=3

# serve FILE HEADER: Start a server in the background.
serve() {
  REGISTRY_HTTP_HEADERS="{\"K8scr-Collection\": [\"$2\"]}" registry serve "$config/$1" &
  server=$!
}

# replace_server FILE HEADER: Stop the server, which closes its port at once and finishes its requests, and start
# another one at the port.
replace_server() {
  previous=$server
  stop_process "$previous"
  serve "$1" "$2"
}

stop_process() {
  if [ -n "$1" ]; then kill -TERM "$1" 2>/dev/null; fi
}

is_running() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null
}

# Wait for a second. A signal ends the wait; the shell collects children that ended.
pause() {
  sleep 1 &
  wait $!
}

# Stop all processes. The kubelet kills them if this takes longer than the grace period of the Pod.
terminate() {
  trap '' TERM INT
  stop_process "$server"
  stop_process "$previous"
  stop_process "$collector"
  wait
  exit 0
}

# save FILE TEXT: Replace a file of the state.
save() {
  printf '%s\n' "$2" >"$state/$1.new" && mv "$state/$1.new" "$state/$1"
}

# Read the last request into $request; return whether there is one without a result.
is_requested() {
  request=''
  if [ -r "$request_file" ]; then read -r request <"$request_file"; fi
  case $request in
    '' | *[!0-9a-f]*) return 1 ;;
  esac
  case $result in
    "id=$request "*) return 1 ;;
  esac
  [ "${#request}" -le 64 ]
}

# finish TEXT: Set the result of the request.
finish() {
  result="id=$request $1"
  save result "$result"
}

# Count the starts of this request's collection; return whether another one is allowed.
count_attempt() {
  attempted='' attempts=0
  if [ -r "$state/attempts" ]; then read -r attempted attempts <"$state/attempts"; fi
  if [ "$attempted" != "$request" ]; then attempts=0; fi
  if [ "$attempts" -ge "$most_attempts" ]; then return 1; fi
  save attempts "$request $((attempts + 1))"
}

# Print the bytes of all blobs as " NAME=BYTES"; nothing for S3.
blob_bytes() {
  if [ -z "$storage" ]; then return; fi
  find "$root/blobs" -type f -exec stat -c %s {} + |
    awk -v name="$1" '{ bytes += $1 } END { printf " %s=%.0f", name, bytes }'
}

# Remove what killed processes left, which the collector does not know or cannot read: temporary files and empty links.
# Create the folders whose absence the collector reports as an error, for example in a new registry.
prepare_storage() {
  if [ -z "$storage" ]; then return; fi
  mkdir -p "$root/blobs" "$root/repositories"
  find "$root" -type f '(' -name '*.tmp' -o -name link -size 0 ')' -exec rm -f {} +
  find "$root/repositories" -type d -name _manifests -prune |
    while IFS= read -r manifests; do mkdir -p "${manifests%_manifests}_layers"; done
}

# Return whether the collector may run. It deletes blobs in use if their digest is not a SHA-256 digest.
is_collectable() {
  if [ -z "$storage" ]; then return; fi
  link=$(find "$root/repositories" -type f -path '*/_layers/*/link' ! -path '*/_layers/sha256/*' | head -n 1)
  if [ -z "$link" ]; then return; fi
  link=${link#"$root/repositories/"}
  digest=${link#*/_layers/}
  digest=${digest%/link}
  printf '%s' "repository ${link%%/_layers/*} has blob $(printf '%.19s' "$digest" | tr / :), and the collector deletes" \
    " blobs in use that have no sha256 digest" >"$state/error"
  return 1
}

# Wait for a second, and start the read-only server again if it ended.
pause_serving() {
  pause
  is_running "$server" || serve collection.yaml running
}

# Run the collector. $code is its exit status, and STATE/error has the end of its messages.
run_collector() {
  rm -f "$state/messages"
  : >"$state/error"
  mkfifo "$state/messages" || return
  tail -c 1000 <"$state/messages" >"$state/error" &
  messages=$!
  # The collectors of distribution 2 and of the alpha releases of 3 delete the images of an index with -m.
  case $(registry --version) in
    *distribution/v3*-alpha*) set -- ;;
    *distribution/v3*) set -- -m ;;
    *) set -- ;;
  esac
  registry garbage-collect "$@" "$config/registry.yaml" 2>"$state/messages" &
  collector=$!
  while is_running "$collector"; do pause_serving; done
  wait "$collector"
  code=$?
  collector=''
  wait "$messages"
}

# Print the last message of the collector in characters that need no quotes in a header, without secrets.
last_message() {
  message=$(tail -n 1 "$state/error" | tr -cd 'A-Za-z0-9 ._:/,=+@()-')
  for secret in "${REGISTRY_HTTP_PREFIX:-}" "${REGISTRY_HTTP_SECRET:-}" "${AWS_SECRET_ACCESS_KEY:-}"; do
    secret=${secret#/}
    secret=${secret%/}
    case $message in
      *"${secret:-no secret}"*) message='the message contains a secret, see the log' ;;
    esac
  done
  printf '%.300s' "${message:-no message, exit status $code}"
}

collect() {
  if ! count_attempt; then
    finish "status=failed seconds=0 error=the collector was interrupted $most_attempts times, for example because the container exceeded its memory limit"
    return
  fi
  begin=$(date +%s)
  replace_server collection.yaml running
  drained=0
  while is_running "$previous"; do
    pause_serving
    drained=$((drained + 1))
    if [ "$drained" -gt "$longest_drain" ]; then kill -KILL "$previous"; fi
  done
  prepare_storage
  before=$(blob_bytes before)
  code=1
  if is_collectable; then run_collector; fi
  if [ "$code" -eq 0 ]; then
    sizes=$before$(blob_bytes after)
    finish "status=done seconds=$(($(date +%s) - begin))$sizes"
  else
    printf '%s\n' "$(cat "$state/error")" >&2
    finish "status=failed seconds=$(($(date +%s) - begin)) error=$(last_message)"
  fi
}

# Only the first Pod writes.
case ${K8SCR_POD:-} in
  *-0) ;;
  *)
    export REGISTRY_HTTP_HEADERS='{"K8scr-Collection": ["reader"]}'
    exec registry serve "$config/collection.yaml"
    ;;
esac

trap terminate TERM INT
if [ -r "$state/result" ]; then
  read -r result <"$state/result"
else
  # An old request belongs to an earlier Pod.
  result=ready
  if is_requested; then finish status=skipped; else save result "$result"; fi
fi
if is_requested; then collect; fi
replace_server registry.yaml "$result"
while :; do
  pause
  if is_requested; then
    collect
    replace_server registry.yaml "$result"
  elif ! is_running "$server"; then
    # The previous server may have used the port.
    if [ -z "$previous" ]; then
      wait "$server"
      exit
    fi
    serve registry.yaml "$result"
  fi
  is_running "$previous" || previous=''
done
