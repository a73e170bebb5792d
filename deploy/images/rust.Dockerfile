# syntax=docker/dockerfile:1
# The Rust binaries, static, one image each. From the repository's root:
#
#   docker build -f deploy/images/rust.Dockerfile --target interceptor -t docker.io/kipper/interceptor:0.1.0 .
#
# Targets: interceptor, scaler-adapter, controller, poller. They share the build stage, so all but the
# first cost nothing. `--build-arg REVISION=$(git rev-parse --short HEAD)` goes into kipper_build_info.

# As in rust-toolchain.toml.
ARG RUST=1.95.0

# Alpine's own target is musl, linked statically, on every architecture alike.
FROM rust:${RUST}-alpine AS build
RUN apk add --no-cache musl-dev gcc make linux-headers
# The toolchain is here already; without this, rustup would fetch what else rust-toolchain.toml names.
ARG RUST
ENV RUSTUP_TOOLCHAIN=${RUST}
WORKDIR /src
COPY . .
ARG REVISION=unknown
ENV KIPPER_REVISION=${REVISION}
# The cache belongs to one architecture: two builds must not share a target directory.
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=kipper-target-${TARGETARCH},target=/src/target \
    cargo build --release --locked -p kipper-interceptor -p kipper-scaler-adapter -p kipper-controller -p kipper-poller \
    && mkdir /out \
    && cp target/release/kipper-interceptor target/release/kipper-scaler-adapter target/release/kipper-controller target/release/kipper-poll /out/

# No shell, no package manager: certificates, time zones and a user.
FROM gcr.io/distroless/static-debian12:nonroot AS runtime
LABEL org.opencontainers.image.title="Kipper Functions" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532

FROM runtime AS interceptor
COPY --from=build /out/kipper-interceptor /kipper-interceptor
EXPOSE 8080 9901
ENTRYPOINT ["/kipper-interceptor"]

FROM runtime AS scaler-adapter
COPY --from=build /out/kipper-scaler-adapter /kipper-scaler-adapter
EXPOSE 9090 9091 9990
ENTRYPOINT ["/kipper-scaler-adapter"]

FROM runtime AS controller
COPY --from=build /out/kipper-controller /kipper-controller
EXPOSE 9990
ENTRYPOINT ["/kipper-controller"]

FROM runtime AS poller
COPY --from=build /out/kipper-poll /kipper-poll
EXPOSE 9990 9991
ENTRYPOINT ["/kipper-poll"]
