# Two images from one file.
#   docker build --target service -t preceptor-service:0.1.0 .     the HTTP frontend: no torch, no compiler
#   docker build --target worker  -t preceptor-worker:0.1.0 .      the workers: torch and the default label encoder
#
# Build arguments: PYTHON_IMAGE, SETUPTOOLS_VERSION, TORCH_VARIANT, TORCH_INDEX, VERSION, REVISION.
# A build secret named `pip` may hold a pip.conf (package mirror, credentials); it is in no layer.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG SETUPTOOLS_VERSION=80.9.0


# What building and running share.
FROM ${PYTHON_IMAGE} AS base
# PYTHONSAFEPATH: the working folder is no place to import from.
ENV PATH=/opt/preceptor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1


# The compiler and pip stay in this stage.
FROM base AS builder
ARG SETUPTOOLS_VERSION
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip install "setuptools==${SETUPTOOLS_VERSION}" wheel==0.45.1 \
    && python3 -m venv --without-pip /opt/preceptor
WORKDIR /build


# Our own two distributions as wheels, the compiled loops included.
FROM builder AS wheels
COPY . .
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels clients/python .


# Dependencies come before our code: a change of the code does not install them again.
FROM builder AS service-dependencies
ARG SETUPTOOLS_VERSION
COPY constraints.txt pyproject.toml ./
COPY clients/python/pyproject.toml clients/python/
COPY deploy/image deploy/image
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/python deploy/image/requirements.py pyproject.toml clients/python/pyproject.toml > service.txt \
    && /opt/build/bin/python deploy/image/requirements.py --extra oidc pyproject.toml >> service.txt \
    && /opt/build/bin/python deploy/image/requirements.py --extra telemetry pyproject.toml >> service.txt \
    && grep -v -E '^(torch|setuptools)==' constraints.txt > pinned.txt \
    && echo "setuptools==${SETUPTOOLS_VERSION}" >> pinned.txt \
    && /opt/build/bin/pip --python /opt/preceptor/bin/python install -c pinned.txt -r service.txt


FROM service-dependencies AS worker-dependencies
# `cpu` or `cuda`. TORCH_INDEX: address of an index that carries the CPU builds; see docs/deployment.md.
ARG TORCH_VARIANT=cpu
ARG TORCH_INDEX=
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/python deploy/image/requirements.py --extra worker pyproject.toml > worker.txt \
    && sh deploy/image/torch.sh worker.txt pinned.txt "${TORCH_VARIANT}" "${TORCH_INDEX}"
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/preceptor/bin/python install -c pinned.txt -r worker.txt


FROM service-dependencies AS service-environment
COPY --from=wheels /wheels /wheels
RUN /opt/build/bin/pip --python /opt/preceptor/bin/python install --no-index --no-deps /wheels/*.whl \
    && cd / && /opt/preceptor/bin/python -c 'import service.app'


FROM worker-dependencies AS worker-environment
COPY --from=wheels /wheels /wheels
RUN /opt/build/bin/pip --python /opt/preceptor/bin/python install --no-index --no-deps /wheels/*.whl \
    && cd / && /opt/preceptor/bin/python -c \
        'import worker.jobs.tasks; from worker.label_encoder import load_encoder; load_encoder("minilm")'


# A fixed, unprivileged user. Everything that is written goes to /data or to /tmp.
FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Preceptor" \
      org.opencontainers.image.description="Ranks a model zoo for a new classification task and distils the best teachers into the student" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 preceptor \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin preceptor \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY LICENSE /usr/share/doc/preceptor/LICENSE
COPY --chmod=0644 deploy/healthcheck.py /opt/healthcheck.py
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/data/scratch/huggingface \
    ORT_DISABLE_TELEMETRY=1 \
    PRECEPTOR_DATA=/data \
    PRECEPTOR_HOST=0.0.0.0 \
    PRECEPTOR_PORT=8321 \
    PRECEPTOR_LOG_FORMAT=json
WORKDIR /
VOLUME ["/data"]
STOPSIGNAL SIGTERM


FROM runtime AS worker
COPY --from=worker-environment /opt/preceptor /opt/preceptor
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=4 \
    CMD ["/opt/preceptor/bin/python", "-I", "-S", "/opt/healthcheck.py", "worker"]
ENTRYPOINT ["/opt/preceptor/bin/preceptor-server", "worker", "--lane"]
CMD ["recommend"]


FROM runtime AS service
COPY --from=service-environment /opt/preceptor /opt/preceptor
USER 10001:10001
EXPOSE 8321
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=4 \
    CMD ["/opt/preceptor/bin/python", "-I", "-S", "/opt/healthcheck.py", "service"]
ENTRYPOINT ["/opt/preceptor/bin/preceptor-server", "serve"]
