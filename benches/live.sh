#!/usr/bin/env bash
# `sejf record` on a virtual cable, at the rate of 2,000 two-way calls. Budget: no drop, and 2.0 CPU-seconds of the
# recorder for a million packets, in `pcap` format; in `overload`, every drop counted and attributed.
#   benches/live.sh [rate|overload] [CAPTURE]   without one, 2,000 calls of 40 s are generated (1.8 GB of memory)
# Needs root, ip, unshare, and tcpreplay (RATE packets a second, 200000 unless said) or netsniff-ng. Traffic stays in a network namespace of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-rate}
sejf=${SEJF:-target/release/sejf}
if [ -z "${SEJF_LIVE_INSIDE:-}" ]; then
  [ -n "${SEJF:-}" ] || cargo build --release --locked --quiet
  SEJF_LIVE_INSIDE=1 exec unshare -n -m "$0" "$@"
fi
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do
    disown "$pid" 2>/dev/null || true # its end is no news
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
  if mountpoint -q "$work.mem"; then umount "$work.mem"; fi
  rm -rf "$work.mem"
}
trap finish EXIT
ring=64MiB
[ "$mode" = rate ] || ring=256KiB # what a few milliseconds without a processor overflow
mkdir "$work.mem"
mount -t tmpfs -o size=6g tmpfs "$work.mem" # the mounts are our own too
for which in all default; do
  echo 1 >"/proc/sys/net/ipv6/conf/$which/disable_ipv6" 2>/dev/null || true
done
ip link add va type veth peer name vb
ip link set va arp off up
ip link set vb arp off up # last: it finds its carrier, and sends at once

capture=${2:-$work.mem/calls.pcap}
[ -n "${2:-}" ] || "$sejf" fixture --calls 2000 --seconds "${SECONDS_OF_CALL:-40}" --voice-loop 2 -o "$capture"
"$sejf" keygen -o "$work/key" >"$work/public"
cat >"$work/sejf.toml" <<TOML
[recorder]
to = "$work/spool"
state = "$work/state"
allow_single_recipient = true
[[capture]]
interface = "va"
ring = "$ring"
[recipients]
default = ["$(awk '{print $NF}' "$work/public")"]
[journal]
directory = "$work/journal"
[metrics]
listen = "off"
[control]
socket = "$work/control.sock"
[canary]
enabled = false
[sandbox]
waive = ["user", "memory-lock"] # where it runs as whoever runs this
[[rule]]
name = "all"
action = "record"
format = "${FORMAT:-pcap}"
TOML

send() { # at the rate, or as fast as one core can
  if command -v tcpreplay >/dev/null; then
    if [ "$mode" = overload ]; then
      # Beside the recorder's core, or it would wait for them and not they for it.
      taskset -c "1-$(($(nproc) - 1))" tcpreplay --quiet --topspeed --intf1=vb "$capture"
    else
      tcpreplay --quiet "--pps=${RATE:-200000}" --intf1=vb "$capture"
    fi
  else
    netsniff-ng --silent --ring-size 8MiB --in "$capture" --out vb
  fi >/dev/null 2>"$work/sender" || { cat "$work/sender"; return 1; }
}

pin=()
senders=1
if [ "$mode" = overload ]; then
  senders=2
  pin=(taskset -c 0)
  for _ in 1 2 3 4; do taskset -c 0 sh -c 'while :; do :; done' & pids+=($!); done
fi
"${pin[@]}" "$sejf" record --json --config "$work/sejf.toml" >"$work/told" 2>"$work/log" &
recorder=$!
pids+=("$recorder")
until [ -n "$(ls "$work/journal" 2>/dev/null)" ]; do
  kill -0 "$recorder" || { cat "$work/log"; exit 1; }
  sleep 0.1
done
sleep 1
cpu() { awk -v hz="$(getconf CLK_TCK)" '{print ($14+$15)/hz}' "/proc/$recorder/stat"; }
counter() { awk '$1 == "vb:" {print $11}' /proc/net/dev; }
cpu_before=$(cpu)
from=$(date +%s.%N)
sending=()
for _ in $(seq "$senders"); do send & sending+=($!); done
pids+=("${sending[@]}")
wait "${sending[@]}"
took=$(echo "$(date +%s.%N) $from" | awk '{print $1-$2}')
sleep 2
cpu_after=$(cpu)
threads() { # user and system CPU-seconds of each
  local task
  for task in /proc/"$recorder"/task/*; do
    awk -v hz="$(getconf CLK_TCK)" -v name="$(cat "$task/comm")" \
      '{sub(/.*\) /, ""); printf "  %-16s %6.2f user %6.2f system\n", name, $12/hz, $13/hz}' "$task/stat"
  done
}
threads >"$work/threads"
memory=$(awk '/VmHWM/ {print $2/1024}' "/proc/$recorder/status")
kill -TERM "$recorder"
wait "$recorder" || echo "the recorder failed: $(tail -3 "$work/log")"
tail -1 "$work/told" >"$work/books"
awk -v took="$took" -v sent="$(counter)" -v cpu="$cpu_after" -v before="$cpu_before" -v memory="$memory" -v senders="$senders" '
  BEGIN { each = (cpu-before)/(sent/1e6)
    printf "%d packets sent in %.1f s by %d: %.0f a second\n", sent, took, senders, sent/took
    printf "recorder: %.2f CPU-s, %.3f per million packets, %.2f of the goal of 2.0; %.0f MiB at most\n", cpu-before, each, each/2.0, memory }'
cat "$work/threads"
echo "books: $(cat "$work/books")"
grep -iE "journal|slow|late|drop" "$work/log" | tail -5 || true
grep -q '"balanced":true' "$work/books" || { echo "the books do not balance"; exit 1; }
