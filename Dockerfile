# syntax=docker/dockerfile:1
# One image for every process; docker-compose.yml says which of them a container is.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1

# What an image is made with stays in this stage.
COPY requirements-image.txt ./
RUN python -m venv /build \
    && /build/bin/pip install --require-hashes --only-binary :all: --requirement requirements-image.txt

# What zea runs with; a change of the source does not install it again.
COPY requirements-production.txt ./
RUN /build/bin/uv venv --python /build/bin/python /opt/zea \
    && /build/bin/uv pip install --python /opt/zea --compile-bytecode --require-hashes --only-binary :all: --no-deps \
        --requirement requirements-production.txt

COPY pyproject.toml README.md LICENSE celeryconfig.py flowerconfig.py ./
COPY migrations migrations
COPY tasks tasks
COPY workflows workflows
COPY zea zea
RUN /build/bin/uv build --wheel --no-build-isolation --python /build/bin/python --out-dir /wheels \
    && /build/bin/uv pip install --python /opt/zea --compile-bytecode --no-deps /wheels/*.whl

FROM python:${PYTHON}
ENV PATH=/opt/zea/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ZEA_DATA_DIR=/data ZEA_ENVIRONMENT=production
# A volume that is mounted here for the first time takes over whose folder it is.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /data zea \
    && install --directory --mode 0700 --owner zea --group zea /data
COPY --from=build /opt/zea /opt/zea
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["uvicorn", "zea.api.app:create_app", "--factory", "--loop", "uvloop", "--http", "httptools", "--workers", "1", \
    "--no-access-log", "--timeout-graceful-shutdown", "5", "--host", "0.0.0.0", "--port", "8000"]
