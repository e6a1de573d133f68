# Sourced by the other scripts: installs what a build or a test run needs, and only what is missing.
# Debian and Ubuntu are served through apt; on any other system it names what to install and ends with exit code 2.
# shellcheck shell=bash source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

BUILD_PACKAGES=(build-essential pkg-config libssl-dev zlib1g-dev)
JAVA_MIN=17
# Cassandra 5 wants a security manager, which Java 24 has dropped.
JAVA_MAX=23

on_debian() { [[ -e /etc/debian_version ]] && command -v apt-get dpkg-query >/dev/null; }

# need WHAT...: for systems without apt.
need() {
    say "not a Debian or Ubuntu system: please install by hand, then run this again:"
    printf '  - %s\n' "$@" >&2
    exit 2
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root (or sudo) to run: $*"
    fi
}

package_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

package_available() { apt-cache show "$1" >/dev/null 2>&1; }

refresh_package_lists() {
    [[ -z ${PACKAGE_LISTS_FRESH:-} ]] || return 0
    quietly as_root apt-get update -q || die "cannot refresh the package lists"
    PACKAGE_LISTS_FRESH=1
}

install_packages() {
    say "installing $*"
    refresh_package_lists
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" ||
        die "cannot install $*"
}

ensure_packages() {
    local package missing=()
    for package in "$@"; do
        package_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

ensure_build_tools() {
    if on_debian; then
        ensure_packages "${BUILD_PACKAGES[@]}"
        return
    fi
    local missing=() tool library
    for tool in cc c++ make pkg-config; do
        command -v "$tool" >/dev/null || missing+=("the command $tool")
    done
    for library in openssl zlib; do
        pkg-config --exists "$library" 2>/dev/null || missing+=("$library with its headers (found through pkg-config)")
    done
    ((${#missing[@]} == 0)) || need "${missing[@]}"
}

wanted_rust() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$REPO_ROOT/Cargo.toml"; }

rust_is_recent() {
    local found
    found=$(cd "$REPO_ROOT" && cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
    [[ -n $found && $(printf '%s\n' "$(wanted_rust)" "$found" | sort -V | head -n 1) == "$(wanted_rust)" ]]
}

ensure_rust() {
    if ! rust_is_recent && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    ! rust_is_recent || return 0
    say "installing Rust $(wanted_rust) or newer through rustup"
    if ! command -v rustup >/dev/null && on_debian; then
        refresh_package_lists
        if package_available rustup; then install_packages rustup; fi
    fi
    if command -v rustup >/dev/null; then
        quietly rustup toolchain install stable --profile minimal -c clippy,rustfmt
        export RUSTUP_TOOLCHAIN=stable
    else
        command -v curl >/dev/null || { on_debian && install_packages curl ca-certificates; } || need curl
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -q -y --no-modify-path --profile minimal -c clippy,rustfmt >&2
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
        hash -r
    fi
    rust_is_recent || die "Rust $(wanted_rust) or newer is needed, 'cargo --version' says: $(cargo --version 2>&1)"
}

java_suits() {
    local major
    major=$("$1" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p') || return 1
    [[ -n $major ]] && ((major >= JAVA_MIN && major <= JAVA_MAX))
}

# Prints a Java runtime that Kafka and Cassandra both run on.
find_java() {
    local java
    for java in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        if [[ -x $java ]] && java_suits "$java"; then
            printf '%s\n' "$java"
            return
        fi
    done
    return 1
}

ensure_java() {
    ! find_java >/dev/null || return 0
    on_debian || need "a Java runtime, version $JAVA_MIN to $JAVA_MAX"
    refresh_package_lists
    if package_available openjdk-17-jre-headless; then
        install_packages openjdk-17-jre-headless
    else
        install_packages default-jre-headless
    fi
    find_java >/dev/null || die "Java $JAVA_MIN to $JAVA_MAX is needed; set JAVA_HOME to one"
}

ensure_maven() {
    command -v mvn >/dev/null || { on_debian && install_packages maven; } || need "Maven 3 (the command mvn)"
}

ensure_python() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || { on_debian && install_packages python3 python3-venv; } ||
        need "Python 3.9 or newer with venv"
}

# What a build needs.
setup_build() {
    ensure_build_tools
    ensure_rust
}

ensure_openssl() {
    command -v openssl >/dev/null || { on_debian && install_packages openssl; } || need "OpenSSL 3 (the command openssl)"
}

# Puts prometheus and promtool on the PATH. Debian's package is unpacked into the cache and not installed: installed, it
# would run as a service.
ensure_prometheus() {
    local dir=$SURGETANK_CACHE/prometheus
    ! { command -v prometheus && command -v promtool; } >/dev/null || return 0
    if [[ ! -x $dir/usr/bin/promtool ]]; then
        on_debian || return 1
        say "downloading Prometheus (once)"
        refresh_package_lists
        local parts
        mkdir -p "$SURGETANK_CACHE"
        parts=$(mktemp -d "$dir.XXXXXX")
        (cd "$parts" && quietly apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) ||
            { rm -rf "$parts"; return 1; }
        # Someone else may have been quicker; then theirs is as good as ours.
        mv -T "$parts" "$dir" 2>/dev/null || rm -rf "$parts"
    fi
    PATH=$dir/usr/bin:$PATH
}

# What the real Kafka and Cassandra need.
setup_services() {
    ensure_openssl
    ensure_java
    ensure_maven
}
