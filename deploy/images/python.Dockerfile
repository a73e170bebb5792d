# syntax=docker/dockerfile:1
# What inline Python functions run in: docker.io/kipper/runtime-python. From the repository's root:
#
#   docker build -f deploy/images/python.Dockerfile -t docker.io/kipper/runtime-python:0.1.0 .
#
# The function's code is mounted at /app/function; the root file system is read-only, /tmp is not.

FROM python:3.12-slim AS files
COPY runtimes/python/main.py /opt/kipper/main.py
COPY runtimes/python/kipper_runtime /opt/kipper/kipper_runtime
# Compiled once: a read-only root could not keep what the first start compiles. The hash form is not
# checked against the file's time, which differs from image to image.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/kipper

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Kipper Functions, Python runtime" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=files /opt/kipper /opt/kipper
# What a function prints must reach the log before it is killed; pip must not warn into it.
ENV PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python3", "/opt/kipper/main.py"]
