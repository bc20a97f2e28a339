# The service and the worker: one image, which command it runs decides.
FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/callaudit
ENV PATH=/opt/callaudit/bin:$PATH
WORKDIR /source
# torch comes first: whatever depends on it would fetch the newest build. It is the largest layer and changes least.
RUN pip install --no-cache-dir torch==2.13.0
COPY constraints.txt pyproject.toml README.md ./
COPY models models
COPY pipelines pipelines
COPY app app
# Of pyproject.toml, with commas: docker build --build-arg EXTRAS=ray,s3 --tag callaudit .
ARG EXTRAS=
RUN pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11-slim-bookworm
# Chinese glyphs for printed reports; Debian's own version of the release will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends fonts-noto-cjk \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home callaudit \
    && install --directory --owner=callaudit --group=callaudit /data /models
COPY --from=build /opt/callaudit /opt/callaudit
# HF_HOME: a model that is set by its name on the hub is kept in the volume too.
ENV PATH=/opt/callaudit/bin:$PATH \
    CALLAUDIT_DATA_DIR=/data \
    HF_HOME=/models/hub
USER 10001
VOLUME ["/data", "/models"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["callaudit"]
CMD ["serve", "--host", "0.0.0.0"]
