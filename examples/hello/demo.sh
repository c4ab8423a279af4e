#!/usr/bin/env bash
# Runs a node of its own with the example app, for a look around: `make demo`.
# All that it writes is below .cache/demo, and gone when it ends.
set -euo pipefail
cd "$(dirname "$0")/../.."

orla="${ORLA:-$PWD/bin/orla}"
data="${DATA:-$PWD/.cache/demo}"
http="${HTTP:-:8080}" https="${HTTPS:-:8443}" admin="${ADMIN:-127.0.0.1:7070}"
unset ORLA_ADMIN ORLA_TOKEN ORLA_CONFIG ORLA_DATA PORT # of another node

command -v go >/dev/null || { echo "demo: Go is needed to build the example: https://go.dev/dl" >&2; exit 1; }
if "$orla" apps --data "$data" >/dev/null 2>&1; then
  echo "demo: one is running already; stop it first (Ctrl-C in its terminal)" >&2
  exit 1
fi
rm -rf "$data"
mkdir -p -m 0700 "$data"
node="" tail=""

finish() {
  trap - EXIT INT TERM
  [[ -z "$tail" ]] || kill -INT "$tail" 2>/dev/null || true
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
"$orla" deploy examples/hello --data "$data" --message "make demo" >"$data/deploy.log"
cat "$data/deploy.log"
web="$(grep -o -m 1 'http://[^/ ]*' "$data/deploy.log")"
secure="$(grep -o -m 1 'https://[^/ ]*' "$data/deploy.log")"
cat <<EOT

Open $web or $secure, or try in a second terminal:

  curl '$web/api/hello?name=Ada'
  curl --cacert ${data#"$PWD/"}/certs/root.pem $secure/version
  curl $web/api/shout -d 'is this the edge?'

and the orla command, after: export ORLA_DATA=$data PATH=${orla%/*}:\$PATH

  orla apps show hello
  orla routes explain $web/about

The app's log follows. Ctrl-C stops the node and removes all of it.

EOT
"$orla" logs hello --follow --data "$data" &
tail=$!
wait "$tail" || true
kill -0 "$node" 2>/dev/null || { node=""; failed "the node stopped"; }
