# What a build leaves behind, as far as a start needs it: a server, a person, a repository.
ARG BASE
FROM ${BASE}
USER root
RUN mkdir /srv/repo \
 && echo 'answer = 42' > /srv/repo/answer.py
USER 1000
