# One image for every role; the role is the argument (`hook`, `dispatcher`, `agent all`, `up`).
FROM rust:1.95-slim-bookworm AS build
# The image's own toolchain: rust-toolchain.toml would fetch the lints as well.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --package nightshift --package tests --bin nightshift --bin demo-service \
    && cp target/release/nightshift target/release/demo-service /usr/local/bin/

FROM debian:bookworm-slim
# git, ssh: the git-agent and the plain forge run them. ca-certificates: TLS to the outside.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/nightshift nightshift
COPY --from=build /usr/local/bin/nightshift /usr/local/bin/demo-service /usr/local/bin/
USER 10001
WORKDIR /var/lib/nightshift
ENTRYPOINT ["nightshift"]
CMD ["up"]
