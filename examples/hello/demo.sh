#!/usr/bin/env bash
# Runs a node of its own with the example app, for a look around: `make demo`.
# All that it writes is in a temporary folder, and gone when it ends.
set -euo pipefail
cd "$(dirname "$0")/../.."

orla="${ORLA:-bin/orla}"
http="${HTTP:-:8080}" https="${HTTPS:-:8443}" admin="${ADMIN:-127.0.0.1:7070}"
unset ORLA_ADMIN ORLA_TOKEN ORLA_CONFIG ORLA_DATA PORT # of another node

command -v "${GO:-go}" >/dev/null || { echo "demo: Go is needed to build the example: https://go.dev/dl" >&2; exit 1; }
data="$(mktemp -d "${TMPDIR:-/tmp}/orla-demo.XXXXXX")"
node=""

finish() {
  trap - EXIT INT TERM
  if [[ -n "$node" ]] && kill -0 "$node" 2>/dev/null; then
    echo "demo: stopping the node"
    kill -TERM "$node" 2>/dev/null || true
    wait "$node" 2>/dev/null || true
  fi
  rm -rf "$data"
}
trap finish EXIT
trap 'exit 0' INT TERM

failed() {
  echo "demo: $1; the node says:" >&2
  tail -n 5 "$data/node.log" >&2
  echo "demo: other ports can be had with: make demo HTTP=:9080 HTTPS=:9443 ADMIN=127.0.0.1:9070" >&2
  exit 1
}

echo "demo: starting a node (its log: $data/node.log)"
"$orla" serve --http "$http" --https "$https" --admin "$admin" --data "$data" --node demo >"$data/node.log" 2>&1 &
node=$!
for ((i = 0; ; i++)); do
  "$orla" apps --data "$data" >/dev/null 2>&1 && break
  kill -0 "$node" 2>/dev/null || { node=""; failed "the node did not start"; }
  ((i < 150)) || failed "the node did not answer within 30 seconds"
  sleep 0.2
done

echo "demo: building and deploying examples/hello (the first build of the function takes a minute)"
"$orla" deploy examples/hello --data "$data" --message "make demo"

web="http://localhost:${http##*:}" secure="https://localhost:${https##*:}"
cat <<EOT

Open $web or $secure, or try in another terminal:

  curl $web/api/hello?name=Ada
  curl --cacert $data/certs/root.pem $secure/
  curl $web/api/shout -d 'is this the edge?'

and see what orla shows of it (any command, with --data $data):

  $orla apps show hello --data $data
  $orla routes explain $web/about --data $data

The app's log follows. Ctrl-C stops the node and removes all of it.

EOT
"$orla" logs hello --follow --data "$data" &
tail=$!
wait "$tail" || true
kill -0 "$node" 2>/dev/null || { node=""; failed "the node stopped"; }
