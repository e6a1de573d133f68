# Surgetank in a container: built on Debian bookworm, run on its slim sister as an unprivileged user.
#   docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" \
#     --build-arg COMMIT_TIME="$(git log -1 --format=%ct)" -t surgetank .
#   docker run -p 7400:7400 -p 7402:7402 -p 8080:8080 -v surgetank:/var/lib/surgetank \
#     -v ./tokens.toml:/etc/surgetank/tokens.toml:ro -e SURGETANK__CREDENTIALS__FILE=/etc/surgetank/tokens.toml surgetank
# Without a file of tokens (surgetank token new) it refuses to listen on addresses that others can reach.

FROM rust:1-bookworm AS builder
WORKDIR /build

# The dependencies are a layer of their own: it is rebuilt only when the manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs && touch build.rs \
    && mkdir benches && sed -n '/^\[\[bench\]\]/,/^$/s/^name *= *"\(.*\)"/\1/p' Cargo.toml \
       | while read -r bench; do touch "benches/$bench.rs"; done \
    && cargo fetch --locked

COPY build.rs ./
# The message layouts of the fleet are compiled in.
COPY config ./config
COPY src ./src
# `surgetank --version` tells it, and no clock before the commit's time is believed; there is no git repository in here to
# ask. Without a time (seconds since 1970) a date in build.rs stands in.
ARG COMMIT=unknown
ARG COMMIT_TIME=
ENV SURGETANK_COMMIT=$COMMIT \
    SURGETANK_COMMIT_TIME=$COMMIT_TIME
RUN cargo build --profile dist --locked --offline --bin surgetank

FROM debian:bookworm-slim
# What the binary links: OpenSSL and zlib (librdkafka and SQLite are inside it). The build ends here if that has grown.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/surgetank --create-home surgetank
COPY --from=builder /build/target/dist/surgetank /usr/local/bin/surgetank
RUN ! ldd /usr/local/bin/surgetank | grep 'not found'
COPY config /etc/surgetank

# A container is reached from outside. Ports and paths are set here, over whatever the configuration file says, so that
# the volume, the published ports and the health check below are right.
ENV SURGETANK__DEVICES__LISTEN=0.0.0.0:7400 \
    SURGETANK__HTTP__LISTEN=0.0.0.0:8080 \
    SURGETANK__INGEST__LISTEN=0.0.0.0:7402 \
    SURGETANK__DATA_DIR=/var/lib/surgetank
EXPOSE 7400 7402 8080
VOLUME /var/lib/surgetank
USER 10001
WORKDIR /var/lib/surgetank
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["surgetank", "health", "live", "--config", "/etc/surgetank/surgetank.toml"]
ENTRYPOINT ["surgetank"]
CMD ["run", "--config", "/etc/surgetank/surgetank.toml"]
