#!/usr/bin/env bash
# Starts a real S3 server for the tests (Ceph RADOS Gateway), where ../shared/tools has what starts one, and prints
# what to export. Needs Debian's packages, which are unpacked below the folder and not installed.
#   eval "$(tests/s3.sh /tmp/ceph-s3)"
set -euo pipefail
cd "$(dirname "$0")/.."
home=${1:-/tmp/ceph-s3}
tool=../shared/tools/ceph-s3-up.sh
[ -e "$tool" ] || { echo "no $tool: tests against a real S3 are skipped" >&2; exit 0; }
if [ ! -x "$home/root/usr/bin/radosgw" ]; then
  mkdir -p "$home/debs"
  # What the tool's own list leaves out, because many machines have it.
  (cd "$home/debs" && apt-get download libboost-context1.74.0 libboost-iostreams1.74.0 \
    libboost-program-options1.74.0 libboost-thread1.74.0 libdaxctl1 libfmt9 libibverbs1 libkmod2 libndctl6 \
    libnl-3-200 libnl-route-3-200 libpmem1 librados2 librbd1 librdmacm1 >/dev/null)
fi
bash "$tool" "$home" >&2
echo "export SEJF_TEST_S3=http://127.0.0.1:7480"
echo "# stop with: kill \$(cat $home/data/run/*.pid)"
