# What a build leaves behind, as far as a start needs it: a server, a person, a repository.
ARG BASE
FROM ${BASE}
ARG JUPYTERHUB
RUN python3 -m venv /srv/venv \
 && /srv/venv/bin/python -m pip install --quiet --no-cache-dir "jupyterhub${JUPYTERHUB}" jupyterlab
RUN useradd --create-home --uid 1000 jovyan \
 && mkdir /srv/repo \
 && echo 'answer = 42' > /srv/repo/answer.py
ENV PATH=/srv/venv/bin:$PATH
USER 1000
WORKDIR /home/jovyan
CMD ["jupyterhub-singleuser"]
