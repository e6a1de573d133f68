# Sourced by run: sets the peers up under $PEERS_HOME. Each function ends with 1, and a reason on stderr, when its peer
# cannot be had on this machine.
# shellcheck shell=bash

PEERS_HOME=$SURGETANK_CACHE/peers
PEERS_SOURCES=$REPO_ROOT/benches/peers
CONNECT_TAG=v4.106.0
PYSPARK_VERSION=3.5.7

lacks() {
    say "$*"
    return 1
}

# peer_directory PEER FILE: prints the directory of what is installed for a peer, with its sources in it. Another version
# of the file that names what to install gets a new directory.
peer_directory() {
    local peer=$1 file=$2 dir
    dir=$PEERS_HOME/$peer-$(sha256sum "$PEERS_SOURCES/$peer/$file" | cut -c1-12)
    mkdir -p "$dir"
    cp "$PEERS_SOURCES/$peer"/* "$dir/"
    printf '%s\n' "$dir"
}

# From a git directory with the tag: the hashes of the repository's own go.sum are what the build checks against.
setup_connect() {
    local git_dir=$1 dir
    dir=$(peer_directory connect main.go)
    if [[ ! -x $dir/connect ]]; then
        command -v go >/dev/null || lacks "needs Go" || return
        [[ -n $git_dir ]] || lacks "needs --connect-git, a clone of redpanda-data/connect with the tag $CONNECT_TAG" || return
        git -C "$git_dir" rev-parse -q --verify "refs/tags/$CONNECT_TAG" >/dev/null ||
            lacks "$git_dir has no tag $CONNECT_TAG" || return
        say "building Redpanda Connect $CONNECT_TAG (once)"
        mkdir -p "$dir/source"
        git -C "$git_dir" archive "$CONNECT_TAG" | tar -x -C "$dir/source" || return
        mkdir -p "$dir/source/cmd/peer"
        cp "$PEERS_SOURCES/connect/main.go" "$dir/source/cmd/peer/"
        (cd "$dir/source" && quietly go build -trimpath -o "$dir/connect.new" ./cmd/peer) || return
        mv "$dir/connect.new" "$dir/connect"
        rm -rf "$dir/source"
    fi
    export CONNECT_HOME=$dir
}

setup_node() {
    local dir
    dir=$(peer_directory node package.json)
    if [[ ! -e $dir/ready ]]; then
        command -v npm >/dev/null || lacks "needs Node.js 18 or newer with npm" || return
        say "installing kafkajs and cassandra-driver (once)"
        (cd "$dir" && quietly npm install --no-audit --no-fund --no-package-lock) || return
        touch "$dir/ready"
    fi
    export NODE_HOME=$dir
}

setup_spark() {
    local dir
    dir=$(peer_directory spark pom.xml)
    if [[ ! -e $dir/ready ]]; then
        ensure_python || return
        ensure_maven || return
        say "installing Spark $PYSPARK_VERSION and its connectors (once)"
        quietly python3 -m venv "$dir/venv" || return
        quietly "$dir/venv/bin/pip" install -q "pyspark==$PYSPARK_VERSION" || return
        quietly mvn -q -B -f "$dir/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$dir/jars" || return
        touch "$dir/ready"
    fi
    export SPARK_PEER_HOME=$dir
}

# --- what is measured ---

# Builds the bench target with the generator and the bare loops, and prints where it is.
build_ceiling() {
    (cd "$REPO_ROOT" && cargo build --locked --release --bench ceiling --message-format json-render-diagnostics) |
        sed -n 's/.*"name":"ceiling".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# prepare_binaries BINARY CEILING: builds the one that is not given, and sets WORK, BINARY and CEILING: copies, since what
# is measured must not change when another build replaces it. The build of a bench target builds the binary too, with the
# features that tests turn on: so it comes second.
prepare_binaries() {
    local binary=$1 ceiling=$2
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/surgetank-peers.XXXXXX")
    BINARY=$WORK/surgetank
    CEILING=$WORK/ceiling
    if [[ -z $binary || -z $ceiling ]]; then setup_build; fi
    if [[ -z $binary ]]; then
        (cd "$REPO_ROOT" && cargo build --locked --release --bin surgetank) >&2 || die "the build failed"
        binary=$(target_dir)/release/surgetank
    fi
    cp "$binary" "$BINARY"
    if [[ -z $ceiling ]]; then
        ceiling=$(build_ceiling)
        [[ -n $ceiling ]] || die "the build of the ceiling failed"
    fi
    cp "$ceiling" "$CEILING"
}

# --- the servers ---

# A Kafka and a Cassandra for this run alone, stopped and deleted when the script ends.
start_own_services() {
    local ports
    mapfile -t ports < <(free_ports 5)
    export SURGETANK_SERVICES_DIR=$WORK/services CASSANDRA_COMMITLOG_SYNC=periodic
    export KAFKA_PORT=${ports[0]} KAFKA_CONTROLLER_PORT=${ports[1]}
    export CASSANDRA_PORT=${ports[2]} CASSANDRA_STORAGE_PORT=${ports[3]} CASSANDRA_JMX_PORT=${ports[4]}
    trap 'stop_own_services $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    "$REPO_ROOT/scripts/services" start
    eval "$("$REPO_ROOT/scripts/services" env)"
}

stop_own_services() {
    trap - EXIT INT TERM
    "$REPO_ROOT/scripts/services" stop || true
    rm -rf "$SURGETANK_SERVICES_DIR" "$BINARY" "$CEILING"
    exit "$1"
}
