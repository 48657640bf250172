#!/usr/bin/env bash
# Times `sejf replay` beside other programs on the same capture, in one run, and prints ratios.
# What is not installed is left out: tcpdump, tshark, voipmonitor, sipnab, pcapsipdump.
#   benches/compare.sh [CAPTURE]     without one, 2,000 concurrent calls of 20 s are generated
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet
sejf=target/release/sejf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
capture=${1:-$work/calls.pcap}
[ -n "${1:-}" ] || "$sejf" fixture --calls 2000 --seconds 20 -o "$capture"
"$sejf" keygen -o "$work/key" >"$work/public"
recipient=$(awk '{print $NF}' "$work/public")
cat "$capture" >/dev/null # both read it from memory

row() { # name, command...
  local name=$1; shift
  local times=$work/times
  TIMEFORMAT='%R %U %S'
  { time "$@" >/dev/null 2>"$work/stderr" || echo "  ($name failed: $(tail -1 "$work/stderr"))"; } 2>"$times"
  awk -v name="$name" -v packets="$packets" -v base="${base:-0}" '
    { cpu = $2 + $3; wall = $1 }
    END { printf "%-24s %8.2f s wall %8.2f s cpu %8.3f M packets/s %8.3f M packets/cpu-s", name, wall, cpu, packets/wall/1e6, packets/(cpu>0?cpu:1e-9)/1e6
          if (base > 0) printf "   %6.2f x the cpu of tcpdump", cpu/base; print "" }' "$times"
  last_cpu=$(awk '{print $2+$3}' "$times")
}

packets=$("$sejf" replay "$capture" --to "$work/count" --recipient "$recipient" --audio pcap --state "$work/state" --json --no-sync | tail -1 | sed 's/.*"captured":\([0-9]*\).*/\1/')
rm -rf "$work/count"
echo "$packets packets"
if command -v tcpdump >/dev/null; then
  row "tcpdump -w /dev/null" tcpdump -q -r "$capture" -w /dev/null
  base=$last_cpu
fi
for audio in pcap wav opus; do
  row "sejf --audio $audio" "$sejf" replay "$capture" --to "$work/$audio" --recipient "$recipient" --audio "$audio" --state "$work/state" --quiet
  rm -rf "${work:?}/$audio"
done
command -v tshark >/dev/null && row "tshark -z rtp,streams" tshark -q -n -r "$capture" -z rtp,streams
command -v sipnab >/dev/null && row "sipnab" sipnab -q -r "$capture"
command -v pcapsipdump >/dev/null && { mkdir -p "$work/psd"; row "pcapsipdump" pcapsipdump -r "$capture" -d "$work/psd"; }
command -v voipmonitor >/dev/null && { mkdir -p "$work/vm"; row "voipmonitor" voipmonitor -k -r "$capture" -S -R -d "$work/vm" --no-mysql; }
exit 0
