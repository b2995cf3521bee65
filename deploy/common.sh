# Shared by the scripts of this folder: packages, the build, words. Sourced, not run.
LAMINA_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LAMINA_BIN=$LAMINA_ROOT/.build/release

# What the build links, and what runs beside it.
BUILD_PACKAGES=(libssh2-1-dev libcurl4-openssl-dev libzstd-dev zlib1g-dev libssl-dev libsqlite3-dev pkg-config
    ca-certificates)

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install PACKAGE...: those that are missing, by apt. Says which, so that nobody wonders what changed.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    command -v apt-get >/dev/null || die "these Debian packages are needed: ${missing[*]}"
    say "installing ${missing[*]}"
    as_root apt-get -qq update || die "apt-get update failed; check the network and /etc/apt/sources.list"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

need_swift() {
    command -v swift >/dev/null || die "no Swift toolchain on the PATH; install Swift 6.2 or newer from https://swift.org/install"
}

# build [swift build options]: one configuration for everything, so that tests and users run the same code.
build() { (cd "$LAMINA_ROOT" && swift build -c release -debug-info-format none "$@"); }
