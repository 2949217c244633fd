"""The `repo2docker` backend: container images with Docker or Podman on this machine."""
