# syntax=docker/dockerfile:1
# What inline Node functions run in: docker.io/kipper/runtime-node. From the repository's root:
#
#   docker build -f deploy/images/node.Dockerfile -t docker.io/kipper/runtime-node:0.1.0 .
#
# The function's code is mounted at /app/function; the root file system is read-only, /tmp is not.

FROM node:22-slim AS files
COPY runtimes/node/*.js /opt/kipper/
# Loads every module once: a file that does not parse fails here and not at a cold start.
RUN for file in /opt/kipper/*.js; do node --check "$file"; done

FROM node:22-slim
LABEL org.opencontainers.image.title="Kipper Functions, Node runtime" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=files /opt/kipper /opt/kipper
# npm asks for its own newer version and writes below HOME, which a function's pod does not let it.
ENV NODE_ENV=production \
    HOME=/tmp \
    npm_config_update_notifier=false \
    npm_config_cache=/tmp/npm-cache
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
# Not the image's own entry point, which is a shell script before every start.
ENTRYPOINT ["node", "/opt/kipper/main.js"]
