# Builds the one binary, then runs it as a user without rights in an image that also has what most published servers need
# to start: Node with npx, Python with uvx.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY tests tests
RUN cargo build --locked --profile dist --bin mcp-hub

# Debian's own Node is older than several published servers need.
FROM node:22-bookworm-slim AS node

FROM debian:bookworm-slim
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
 && apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl git libatomic1 python3 python3-pip tini \
 && pip install --no-cache-dir --break-system-packages uv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 hub
COPY --from=build /src/target/dist/mcp-hub /usr/local/bin/mcp-hub
COPY --chown=hub:hub config /home/hub/config
USER hub
WORKDIR /home/hub
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["curl", "--fail", "--silent", "http://127.0.0.1:8080/livez"]
# Beyond loopback every peer needs the key that the first start prints on stderr. tini passes signals on and reaps what servers leave.
ENTRYPOINT ["tini", "--", "mcp-hub"]
CMD ["serve", "--host", "0.0.0.0"]
