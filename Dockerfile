# Tapkeep for servers. Build: docker build -t tapkeep . ; run: docker compose up (docker-compose.yml tells the rest).
# The arguments name images: what to build with, and what to run on.
ARG BUILD_IMAGE=docker.io/library/rust:1.94-bookworm
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libpcap-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked \
    && install -D -s -m 0755 target/release/tapkeep /out/tapkeep

FROM ${BASE_IMAGE}
COPY config/tapkeep.toml /usr/share/tapkeep/tapkeep.toml
COPY container/entrypoint /usr/bin/tapkeep-container
# Engines give added capabilities to root alone, so the program carries the one that it needs.
RUN --mount=type=bind,from=build,source=/out,target=/out \
    apt-get update \
    && apt-get install -y --no-install-recommends libcap2-bin libpcap0.8 \
    && install -m 0755 /out/tapkeep /usr/bin/tapkeep \
    && setcap cap_net_raw+ep /usr/bin/tapkeep \
    && apt-get purge -y --auto-remove libcap2-bin \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/* \
    && groupadd --system --gid 900 tapkeep \
    && useradd --system --uid 900 --gid tapkeep --no-create-home --home-dir /output --shell /usr/sbin/nologin tapkeep \
    && install -d -o tapkeep -g tapkeep -m 0750 /output \
    && install -d -m 1777 /run/tapkeep
ENV TAPKEEP_DATA_DIR=/output
USER tapkeep:tapkeep
WORKDIR /output
ENTRYPOINT ["/usr/bin/tapkeep-container"]
CMD ["run"]
# A warning (1) is no reason to call it unhealthy: it records.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
    CMD tapkeep status >/dev/null || [ $? -eq 1 ]
