# The command line on the CPU, from the wheel: lint, assemble, publish, fetch, deploy, client, verify --server.
#   docker build -t prep .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" prep lint
# With what an extra needs beside it, and torch's build for the CPU:
#   docker build --build-arg EXTRAS=export,engine -t prep:export .
# A tag can be moved. To build on the very same base again, name it by digest:
#   docker buildx imagetools inspect python:3.12-slim-bookworm      # prints the digest
#   docker build --build-arg BASE=python@sha256:… -t prep .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY pipeline/ pipeline/
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE}
ARG EXTRAS=
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PATH=/opt/prep/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
COPY constraints.txt locks/bare.txt /tmp/install/
COPY --from=wheel /wheels/ /tmp/install/
# Every version by its hashes first; what an extra adds, in the versions of constraints.txt.
RUN python -m venv /opt/prep \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/install/bare.txt \
    && pip install --no-cache-dir --no-deps /tmp/install/*.whl \
    && if [ -n "$EXTRAS" ]; then \
        pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c /tmp/install/constraints.txt "prep-triton[$EXTRAS]"; \
    fi \
    && pip check \
    && rm -r /tmp/install
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["prep"]
CMD ["--help"]
