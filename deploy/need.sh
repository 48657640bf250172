# Sourced by scripts: installs, or names, what a build on Debian needs.

need_build() {
  local missing=()
  command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 2; }
  command -v cc >/dev/null || missing+=(gcc)
  command -v cmake >/dev/null || missing+=(cmake)
  [ -e /usr/include/pcap/pcap.h ] || missing+=(libpcap-dev)
  need "${missing[@]}"
}

# The catalog is tested against a real server, which each test starts for itself.
need_postgres() {
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need postgresql
}

need() {
  [ $# -gt 0 ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
  else
    echo "Missing: $*. Install with: sudo apt-get install $*" >&2
    exit 2
  fi
}
