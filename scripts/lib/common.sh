# What every script needs: messages, the place of the repository, cargo's target directory, free ports.
# shellcheck shell=bash
shopt -s inherit_errexit

REPO_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SURGETANK_CACHE=${SURGETANK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/surgetank}

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command quietly; its output appears only when it fails.
quietly() {
    local output status=0
    output=$("$@" 2>&1 </dev/null) || status=$?
    ((status == 0)) || { printf '%s\n' "$output" >&2; say "failed with exit code $status: $*"; }
    return "$status"
}

# Where cargo puts what it builds: CARGO_TARGET_DIR, cargo's own configuration, or target/.
target_dir() {
    local dir
    dir=$(cd "$REPO_ROOT" && cargo metadata --no-deps --format-version 1 |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    [[ -n $dir ]] || die "cargo metadata names no target directory"
    printf '%s\n' "$dir"
}

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints N different free ports of 127.0.0.1. They lie below the range the kernel takes for outgoing connections:
# otherwise a client that reconnects to a stopped server can be given the server's port, and connect to itself.
free_ports() {
    local wanted=$1 port
    local -A taken=()
    while ((${#taken[@]} < wanted)); do
        port=$((RANDOM % 20000 + 12000))
        [[ -n ${taken[$port]:-} ]] || port_in_use "$port" || taken[$port]=1
    done
    printf '%s\n' "${!taken[@]}"
}
