"""Servers in pods of a Kubernetes cluster, by kubespawner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from traitlets import Bool, Unicode

from jupyterhub_binder.spawner.command import (
    CONTENT_VARIABLE,
    REPO_DIR,
    RUN_CONTENT,
    content_arguments,
    content_script,
)
from jupyterhub_binder.spawner.image import BRING, BinderImageMixin
from jupyterhub_binder.spawner.spec import EnvironmentSpec

try:
    from kubernetes_asyncio.client.models import V1Container, V1EnvVar, V1VolumeMount
    from kubespawner import KubeSpawner
except ImportError as error:
    raise ImportError(
        "BinderKubeSpawner needs kubespawner: pip install 'jupyterhub-kubespawner>=7.1'"
    ) from error

if TYPE_CHECKING:
    _Base = KubeSpawner
else:
    _Base = object

_ELSEWHERE = "/binder-home"


class BinderKubeMixin(BinderImageMixin, _Base):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Starts environments as pods: a profile says what a pod may use, the environment its image.

    `profile_list`, its form and `unlisted_choice` go on working; where a profile names an image
    or a command, too, the environment's image wins, and its server takes the place of the
    command's. Pull secrets are `KubeSpawner.image_pull_secrets`.
    """

    binder_owned_options: ClassVar[frozenset[str]] = frozenset()
    # KubeSpawner obeys an `image` among the options only where a profile offers the choice.

    binder_content_init = Bool(
        False,
        config=True,
        help="""
        Whether an init container brings the files, where images keep them in the home.

        For a BinderHub whose repo2docker cannot be given `--target-repo-dir=/srv/repo`: the
        volume that is mounted as the home hides them. The init container runs the environment's
        own image, and sees both: it makes a start some seconds slower. It does nothing where no
        volume is mounted at `binder_home_dir`. Default: False, the server itself brings them
        from `binder_repo_dir`.
        """,
    )
    binder_home_dir = Unicode(
        "/home/jovyan",
        config=True,
        help="""
        The home in pods, and what images have there. Default: `/home/jovyan`.

        The `mountPath` among `KubeSpawner.volume_mounts` of the volume that holds the home.
        """,
    )

    @contextmanager
    def _with_image(self, spec: EnvironmentSpec) -> Iterator[None]:
        """Hold an image that cannot be against the person now, before anything is asked for."""
        self.image_of(spec)
        yield

    async def load_user_options(self) -> None:
        """Apply the profile first, then the environment over it."""
        await super().load_user_options()
        if (spec := self.binder_spec) is not None:
            self.override(image=self.image_of(spec), cmd=self.command_of(spec))

    def command_of(self, spec: EnvironmentSpec) -> list[str]:
        """Return the command, safe from the variables that Kubernetes puts into one."""
        return [_escape(word) for word in super().command_of(spec)]

    def environment_variables(self, spec: EnvironmentSpec) -> dict[str, str]:
        """Return the variables, safe from those that Kubernetes puts into them."""
        known = super().environment_variables(spec)
        return {name: _escape(value) for name, value in known.items()}

    async def get_pod_manifest(self) -> Any:
        """Return the pod, with an init container for the files where one is wanted."""
        pod = await super().get_pod_manifest()
        spec = self.binder_spec
        if spec is not None and self.binder_content_init and not spec.content_elsewhere:
            server = next(one for one in pod.spec.containers if one.name == "notebook")
            if mounts := self._home_elsewhere(server.volume_mounts or ()):
                before = pod.spec.init_containers or []
                pod.spec.init_containers = [*before, self._bring(spec, server, mounts)]
        return pod

    def _home_elsewhere(self, mounts: Sequence[V1VolumeMount]) -> list[V1VolumeMount]:
        """Return the home's mounts, at a place that hides nothing of the image."""
        home = self.binder_home_dir.rstrip("/")
        found = []
        for mount in mounts:
            # Given by an administrator, so maybe as a dict.
            fields = mount if isinstance(mount, dict) else mount.to_dict()
            if str(fields.get("mount_path") or fields.get("mountPath", "")).rstrip("/") == home:
                found.append(
                    V1VolumeMount(
                        name=fields["name"],
                        mount_path=_ELSEWHERE,
                        sub_path=fields.get("sub_path") or fields.get("subPath"),
                    )
                )
        return found

    def _bring(self, spec: EnvironmentSpec, server: Any, mounts: list[V1VolumeMount]) -> Any:
        """Return the container that copies the files and ends; it fails no start."""
        arguments = content_arguments(
            spec,
            [self.binder_repo_dir, REPO_DIR, self.binder_home_dir],
            path="",
            limits=None,  # the server itself fetches what is new
        )
        environment = {
            "HOME": _ELSEWHERE,
            CONTENT_VARIABLE: _escape(content_script()),
        }
        return V1Container(
            name="binder-content",
            image=server.image,
            image_pull_policy=server.image_pull_policy,
            command=["sh", "-c", BRING, RUN_CONTENT],
            args=[*map(_escape, arguments), "--", "true"],
            env=[V1EnvVar(name, value) for name, value in environment.items()],
            security_context=server.security_context,
            resources=server.resources,
            volume_mounts=mounts,
        )


def _escape(text: str) -> str:
    """Return a text that Kubernetes leaves as it was: it puts variables in for ``$(NAME)``."""
    return text.replace("$", "$$")


class BinderKubeSpawner(BinderKubeMixin, KubeSpawner):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Starts environments as pods of a Kubernetes cluster."""
