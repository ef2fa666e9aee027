# Any job file, in a container that holds nothing else:
#
#   docker build -t batchroute .
#   docker run --rm -v "$PWD:/job" -e OPENAI_API_KEY batchroute run /job/job.toml
#
# The process is user 1000; where the mounted folder belongs to somebody else, add --user "$(id -u):$(id -g)".
# `docker stop` kills after 10 s: give answers in flight their time (limits.drain_s) with --stop-timeout 30.
# torch comes with CUDA where pip's index has it so; --build-arg PIP_EXTRA_INDEX_URL=... names one with CPU builds.

FROM python:3.11-slim AS empty
WORKDIR /build
RUN python -m venv --without-pip /opt/batchroute

# Dependencies by themselves: built again only when pyproject.toml or the constraints change.
FROM empty AS dependencies
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
      > requirements.txt \
    && pip --python /opt/batchroute/bin/python install --no-cache-dir -c constraints.txt -r requirements.txt

FROM empty AS package
COPY . .
RUN pip --python /opt/batchroute/bin/python install --no-cache-dir --no-deps .

# Both lie over each other at the same path. Copied, not mounted: older builders reuse a RUN whose mount has changed.
FROM python:3.11-slim
ENV PATH="/opt/batchroute/bin:$PATH" \
    PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --create-home batchroute
COPY --from=dependencies /opt/batchroute /opt/batchroute
COPY --from=package /opt/batchroute /opt/batchroute
USER 1000
WORKDIR /job
ENTRYPOINT ["batchroute"]
CMD ["--help"]
