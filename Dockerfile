# The poller's image: the program, its pinned requirements, and what the sample functions import.
FROM python:3.13-slim AS build
# A package index of the host's, if it has one. Only this stage sees it, so it is in no layer that is kept.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/poller
WORKDIR /src
# Requirements first: a change of the program then does not install them again.
COPY requirements.txt requirements-functions.txt ./
RUN /opt/poller/bin/pip install --quiet -r requirements.txt -r requirements-functions.txt
COPY pyproject.toml README.md LICENSE ./
COPY poller ./poller
RUN /opt/poller/bin/pip install --quiet --no-deps . \
 && /opt/poller/bin/pip uninstall --quiet --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="poller" org.opencontainers.image.licenses="Apache-2.0"
# Made here so that a fresh volume on one of these folders belongs to the user.
RUN groupadd --system --gid 10001 poller \
 && useradd --system --uid 10001 --gid poller --home-dir /app --shell /usr/sbin/nologin poller \
 && mkdir -p /app /results /state && chown poller:poller /results /state && chmod 700 /state
COPY --from=build /opt/poller /opt/poller
ENV PATH=/opt/poller/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER poller
EXPOSE 9001
ENTRYPOINT ["poller"]
# Every address of the container; who reaches the port from outside, `docker run --publish` decides.
CMD ["run", "/app/template.yaml", "--bind", "0.0.0.0", "--insecure-bind", "--port", "9001"]
