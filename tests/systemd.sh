#!/usr/bin/env bash
# The units under a real systemd: a restart, a kill and a hang of the recorder while calls go on, a reload, the metrics
# socket, and the vault, which does its duties also after a kill. Boots systemd in namespaces of its own, over a layer in memory above the root file system: nothing
# of this machine's is changed or seen. Needs root, Debian's systemd, iproute2, tcpreplay, and a built sejf.
#   tests/systemd.sh            with target/release/sejf, else target/debug/sejf, or what SEJF names
#   WATCHDOG=1 tests/systemd.sh also a recorder that hangs: two minutes more
#   ONLY=vault tests/systemd.sh the vault alone
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "FAILED: $*" >&2; exit 1; }

# --- What runs beside systemd, in its namespaces.
vault() {
  local home=/var/lib/sejf-vault key=/root/custodian one
  main_of_vault() { systemctl show -p MainPID --value sejf-vault; }
  asked() { # until the vault that runs says $1
    for _ in $(seq 100); do
      sejf vault running status $home >/root/vault 2>&1 && grep -qE "$1" /root/vault && return
      sleep 0.1
    done
    cat /root/vault
    journalctl -u sejf-vault --no-pager | tail -20
    fail "the vault does not say '$1'"
  }
  sejf keygen -o $key >/root/custodian.pub
  runuser -u sejf-vault -- sejf vault init $home --custodian "ewa=$(awk '{print $NF}' /root/custodian.pub)" --threshold 1 \
    >/dev/null || fail "no vault is made"
  sed -i 's/^name = "calls-5y"/name = "calls"/' $home/vault.toml
  systemctl start sejf-vault.service || { systemctl status sejf-vault --no-pager -l; runuser -u sejf-vault -- timeout 2 sejf vault serve $home --listen 127.0.0.1:7443; fail "it does not start"; }
  one=$(main_of_vault)
  sejf vault running unlock $home -i $key || fail "it is not unlocked"
  asked '^keys .*recipients are there'
  asked '^restore-test .*nothing to restore'
  kill -9 "$one"
  for _ in $(seq 100); do
    [ "$(main_of_vault)" != "$one" ] && [ "$(main_of_vault)" != 0 ] && break
    sleep 0.1
  done
  asked '^clock .*nothing speaks against the clock'
  echo "vault: process $one, then $(main_of_vault), as $(ps -o user= -p "$(main_of_vault)")"
  systemctl stop sejf-vault
  [ "$(systemctl show -p Result --value sejf-vault)" = success ] || fail "the vault did not stop well"
  systemd-analyze security sejf-vault.service --no-pager | tail -1
}

inside() {
  export PATH=/usr/sbin:/usr/bin:/sbin:/bin
  journal() { journalctl -u sejf --no-pager | tail -20; }
  local key=/root/key calls=100 seconds=24
  for _ in $(seq 100); do
    systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded|starting' && break
    sleep 0.2
  done
  ip link set lo up
  ip link add eth1 type veth peer name sender
  ip link set eth1 arp off up
  ip link set sender arp off up
  systemd-sysusers
  systemd-tmpfiles --create sejf.conf
  vault
  if [ "${ONLY:-}" = vault ]; then
    echo "OK"
    return
  fi
  sejf keygen -o $key >/root/public
  printf '[recorder]\nallow_single_recipient = true\n[[capture]]\ninterface = "eth1"\n[recipients]\ndefault = ["%s"]\n' \
    "$(awk '{print $NF}' /root/public)" >/etc/sejf/sejf.toml
  printf '[canary]\nenabled = false\n[[rule]]\nname = "all"\naction = "record"\nformat = "pcap"\n' >>/etc/sejf/sejf.toml
  if [ "$(ulimit -Hl)" != unlimited ] && ! (ulimit -Hl unlimited) 2>/dev/null; then
    echo "memory is not locked: nobody here may raise its limit (CAP_SYS_RESOURCE)"
    printf '[sandbox]\nwaive = ["memory-lock"]\n' >>/etc/sejf/sejf.toml
  fi
  chgrp sejf /etc/sejf/sejf.toml
  chmod 640 /etc/sejf/sejf.toml
  systemctl daemon-reload
  systemctl start sejf-metrics.socket sejf.service || { journal; fail "it does not start"; }

  main() { systemctl show -p MainPID --value sejf; }
  recording() { # by another process than $1, ready
    for _ in $(seq 200); do
      if [ "$(main)" != "$1" ] && [ "$(main)" != 0 ] && [ "$(systemctl is-active sejf)" = active ]; then return; fi
      sleep 0.05
    done
    journal
    fail "no process after $1"
  }
  health() { # through systemd's socket
    exec 3<>/dev/tcp/127.0.0.1/9464
    printf 'GET /ready HTTP/1.0\r\nHost: 127.0.0.1:9464\r\n\r\n' >&3
    head -1 <&3
    exec 3>&-
  }

  sejf fixture --calls $calls --seconds $seconds --voice-loop 2 -o /root/calls.pcap
  sent=$(sejf replay /root/calls.pcap --to /root/whole --recipient "$(awk '{print $NF}' /root/public)" --audio pcap --json |
    tail -1 | grep -o '"recorded":[0-9]*' | head -1 | cut -d: -f2)
  tcpreplay --quiet --intf1=sender /root/calls.pcap >/dev/null &
  local sender=$!
  sleep 5
  local one two three four
  one=$(main)
  systemctl restart sejf
  recording "$one"
  two=$(main)
  echo "restart: process $one, then $two; $(systemctl show -p NFileDescriptorStore --value sejf) descriptors are kept"
  sleep 4
  kill -9 "$two"
  recording "$two"
  three=$(main)
  echo "kill -9: process $three"
  sleep 4
  sed -i 's/name = "all"/name = "every"/' /etc/sejf/sejf.toml
  systemctl reload sejf
  sleep 1
  [ "$(main)" = "$three" ] || fail "a reload started another process"
  journalctl -u sejf --no-pager | grep -q 'configuration taken over' || { journal; fail "a reload left no trace"; }
  echo "reload: process $three still"
  health | grep -q ' 200' || fail "it is not healthy: $(health)"
  wait $sender
  sleep 3
  if [ -n "${WATCHDOG:-}" ]; then
    kill -STOP "$three" # systemd notices after WatchdogSec=, and gives it TimeoutStopSec= to end
    sleep 125
    recording "$three"
    four=$(main)
    echo "hang: process $four"
  fi
  systemctl stop sejf-metrics.socket sejf
  [ "$(systemctl show -p Result --value sejf)" = success ] || fail "it did not stop well"
  local spool=/var/lib/sejf/spool
  # What the killed process had not finished is in the journal.
  sejf salvage "$spool" -i $key --recipient "$(awk '{print $NF}' /root/public)" --journal /var/lib/sejf/journal >/root/salvaged 2>&1 || { cat /root/salvaged; fail "salvage"; }
  sejf verify "$spool" >/root/verified || { cat /root/verified; fail "verify"; }
  for folder in "$spool" "$spool-salvaged"; do sejf ls "$folder" -i $key --json; done >/root/manifests
  python3 - "$calls" "$sent" <<'PY'
import json, sys
calls, sent = int(sys.argv[1]), int(sys.argv[2])
seen = {}
recorded = 0
for line in open("/root/manifests"):
    manifest = json.loads(line)
    seen.setdefault(manifest["call"]["call_ids"][0], []).append(manifest)
    recorded += manifest["counters"]["recorded"]
parts = sorted(len(parts) for parts in seen.values())
print(f"{len(seen)} calls in {parts[0]} to {parts[-1]} parts each; {recorded} of {sent} packets, {sent - recorded} missing")
assert len(seen) == calls, "a call is missing"
assert parts[0] == parts[-1] == 3, "a call did not go on in the next process"
# A second of what was sent, at the kill.
assert sent - recorded <= sent / (24 + 2), "more than a second is missing"
PY
  systemd-analyze security sejf.service --no-pager | tail -1
  echo "OK"
}

# --- Boots systemd on a layer of its own.
boot() {
  local layers=$1 root=$1/root
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$layers"
  mkdir -p "$layers"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 none "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root"/dev/{pts,shm}
  mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
  mount -t tmpfs tmpfs "$root/dev/shm"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  for folder in run tmp var/lib/sejf; do
    mkdir -p "$root/$folder"
    mount -t tmpfs -o mode=755 tmpfs "$root/$folder"
  done
  chmod 1777 "$root/tmp"
  install -m 0755 "$SEJF" "$root/usr/bin/sejf"
  install -m 0755 tests/systemd.sh "$root/root/systemd.sh"
  install -m 0644 deploy/sejf.service deploy/sejf-vault.service deploy/sejf-metrics.socket "$root/usr/lib/systemd/system/"
  install -D -m 0644 deploy/sejf.sysusers "$root/usr/lib/sysusers.d/sejf.conf"
  install -D -m 0644 deploy/sejf.tmpfiles "$root/usr/lib/tmpfiles.d/sejf.conf"
  # As deploy/README.md says for a systemd before 253.
  if [ "$(systemctl --version | awk 'NR == 1 {print $2}')" -lt 253 ]; then
    mkdir -p "$root/etc/systemd/system/sejf.service.d"
    printf '[Service]\nType=notify\nExecReload=+kill -HUP $MAINPID\n' >"$root/etc/systemd/system/sejf.service.d/old.conf"
  fi
  # No user namespace is made from within a chroot (unshare(2)).
  mkdir -p "$root/etc/systemd/system/sejf-vault.service.d"
  printf '[Service]\nPrivateUsers=no\n' >"$root/etc/systemd/system/sejf-vault.service.d/trial.conf"
  # Nothing of what else is installed here.
  mkdir -p "$root/etc/systemd/system"
  printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$root/etc/systemd/system/trial.target"
  export container=oci
  exec chroot "$root" /lib/systemd/systemd --system --log-target=console --unit=trial.target
}

case "${1:-}" in
  --inside) inside; exit ;;
  --boot) boot "$2"; exit ;;
esac
[ "$(id -u)" = 0 ] || fail "this needs root, for its namespaces"
for tool in /lib/systemd/systemd ip tcpreplay unshare nsenter python3; do
  command -v $tool >/dev/null || fail "no $tool: apt-get install systemd iproute2 tcpreplay util-linux python3"
done
SEJF=${SEJF:-target/release/sejf}
[ -x "$SEJF" ] || SEJF=target/debug/sejf
export SEJF
layers=$(mktemp -d)
group=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
[ -n "$group" ] || fail "no cgroup2 is mounted"
group=$group/sejf-trial-$$
mkdir "$group"
(echo "$BASHPID" >"$group/cgroup.procs"
  exec unshare -C -m -p -f -n -i -u --kill-child "$0" --boot "$layers" >"$layers.console" 2>&1 </dev/null) &
shell=$!
finish() {
  kill -9 "$shell" 2>/dev/null || true
  wait "$shell" 2>/dev/null || true
  for _ in $(seq 50); do
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null && break
    sleep 0.1
  done
  rm -rf "$layers" "$layers.console"
}
trap finish EXIT
for _ in $(seq 300); do
  init=$(pgrep -P "$shell" -x systemd || true)
  [ -n "$init" ] && nsenter -t "$init" -m -p -r test -S /run/systemd/private 2>/dev/null && break
  kill -0 "$shell" 2>/dev/null || { cat "$layers.console"; fail "systemd does not boot here"; }
  sleep 0.1
done
[ -n "$init" ] || { cat "$layers.console"; fail "systemd does not boot here"; }
nsenter -t "$init" -a -r -w env -i HOME=/root WATCHDOG="${WATCHDOG:-}" ONLY="${ONLY:-}" bash /root/systemd.sh --inside ||
  { tail -20 "$layers.console"; exit 1; }
