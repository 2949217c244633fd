"""Servers in Kubernetes pods, with kubespawner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jupyterhub.utils import maybe_future
from traitlets import Bool, Unicode

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.model.profiles import Profile
from jupyterhub_binder.spawner.command import (
    CONTENT_VARIABLE,
    REPO_DIR,
    RUN_CONTENT,
    content_arguments,
    content_script,
)
from jupyterhub_binder.spawner.ended import EndedServer
from jupyterhub_binder.spawner.folder import find_content_key, find_key
from jupyterhub_binder.spawner.image import BRING, BinderImageMixin
from jupyterhub_binder.spawner.profiles import describe_profiles
from jupyterhub_binder.spawner.refusal import StartRefused

try:
    from kubernetes_asyncio.client.models import (
        V1Container,
        V1EnvVar,
        V1PersistentVolumeClaimVolumeSource,
        V1Volume,
        V1VolumeMount,
    )
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
_SERVER = "notebook"
_VOLUME = "binder-environments"
_HOPELESS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
"""Reasons for which a container waits until somebody changes it."""


class BinderKubeMixin(BinderImageMixin, _Base):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Starts environments as pods: a profile sets resources, the environment the image.

    The environment's image and server replace a profile's. For pull secrets, use
    `KubeSpawner.image_pull_secrets`. An environment that is a folder is mounted read-only into a pod
    of one image for all.
    """

    binder_owned_options: ClassVar[frozenset[str]] = frozenset()
    # KubeSpawner obeys an `image` in the options only if the profile offers the choice.

    binder_content_init = Bool(
        False,
        config=True,
        help="""
        Use an init container to bring the repository's files, if images keep them in the home
        directory. Default: False, the server brings them from `binder_repo_dir`.

        Set this if you can't give BinderHub's repo2docker the option `--target-repo-dir=/srv/repo`.
        In that case the volume that is mounted as the home directory hides the files. The init
        container runs the environment's own image and sees both. A start takes some seconds longer.
        This has no effect if no volume is mounted at `binder_home_dir`.
        """,
    )
    binder_home_dir = Unicode(
        "/home/jovyan",
        config=True,
        help="""
        The home directory in pods and images: the `mountPath` of the home volume in
        `KubeSpawner.volume_mounts`. Default: `/home/jovyan`.
        """,
    )

    binder_environments_claim = Unicode(
        config=True,
        help="""
        The PersistentVolumeClaim with the environments that are folders, in the namespace of the
        servers. Each server mounts its own environment, read-only, below `environments_root`.
        Default: none, only container images can be started. `configure(environments_claim=...)`
        sets it.
        """,
    )

    @contextmanager
    def _with_image(self, spec: LaunchSpec) -> Iterator[None]:
        """Refuse an invalid image before any request."""
        self.image_of(spec)
        yield

    async def load_user_options(self) -> None:
        """Apply the profile, then the environment."""
        await super().load_user_options()
        if (spec := self.binder_spec) is not None:
            self.override(image=self.image_of(spec), cmd=self.command_of(spec))

    async def offered_profiles(self) -> tuple[Profile, ...]:
        """Return the profiles that this person's spawn page offers."""
        profiles = self._sorted_dict_values(self.profile_list)
        if callable(profiles):
            profiles = await maybe_future(profiles(self))
        return describe_profiles(self._get_initialized_profile_list(profiles))

    def mounted_folder(self, spec: LaunchSpec) -> Path | None:
        """Return where a folder is mounted. Raises StartRefused without a claim."""
        key = find_key(spec)
        if key is None:
            return None
        if not (self.binder_environments_claim and self.environments_root):
            raise StartRefused(
                "An administrator must set BinderKubeMixin.binder_environments_claim and "
                "environments_root, because the environment is a folder.",
                reason="configuration",
            )
        return self._environment_path(key)

    def command_of(self, spec: LaunchSpec) -> list[str]:
        """Return the command, escaped for Kubernetes."""
        return [_escape(word) for word in super().command_of(spec)]

    def _environment_path(self, key: str) -> Path:
        return Path(self.environments_root) / key

    def environment_variables(self, spec: LaunchSpec) -> dict[str, str]:
        """Return the variables, escaped for Kubernetes."""
        return {name: _escape(value) for name, value in super().environment_variables(spec).items()}

    async def get_pod_manifest(self) -> Any:
        """Add the folder or the init container. Keep the server's last words."""
        pod = await super().get_pod_manifest()
        spec = self.binder_spec
        if spec is None:
            return pod
        server = next(one for one in pod.spec.containers if one.name == _SERVER)
        server.termination_message_policy = "FallbackToLogsOnError"
        if key := find_key(spec):
            content = find_content_key(spec) if spec.content_kept else ""
            self._mount(pod, server, sorted({key, content or key}))
            return pod
        mounts = self._home_elsewhere(server.volume_mounts or ())
        if mounts and self.binder_content_init and not spec.content_elsewhere:
            before = pod.spec.init_containers or []
            pod.spec.init_containers = [*before, self._bring(spec, server, mounts)]
        return pod

    def _mount(self, pod: Any, server: Any, keys: Sequence[str]) -> None:
        """Mount the folders of an environment where they were made."""
        # A volume that is read-only as a whole is never given to the pod's fsGroup, file by file.
        claim = V1PersistentVolumeClaimVolumeSource(
            claim_name=self.binder_environments_claim, read_only=True
        )
        volume = V1Volume(name=_VOLUME, persistent_volume_claim=claim)
        pod.spec.volumes = [*(pod.spec.volumes or ()), volume]
        mounts = [
            V1VolumeMount(
                name=_VOLUME,
                mount_path=str(self._environment_path(key)),
                sub_path=key,
                read_only=True,
            )
            for key in keys
        ]
        server.volume_mounts = [*(server.volume_mounts or ()), *mounts]

    async def find_ended(self) -> EndedServer | None:
        """Return the pod if its server has ended or can't be started."""
        reflector = self.pod_reflector
        pods = reflector.pods if reflector else {}
        pod = pods.get(f"{self.namespace}/{self.pod_name}") or {}
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            state = container.get("state") or {}
            waiting = state.get("waiting") or {}
            ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
            if container["name"] == _SERVER and (ended or waiting.get("reason") in _HOPELESS):
                found = ended or waiting
                said = found.get("message") or found.get("reason") or ""
                return EndedServer(pod["metadata"].get("uid", ""), said)
        return None

    def _home_elsewhere(self, mounts: Sequence[V1VolumeMount]) -> list[V1VolumeMount]:
        """Mount the home elsewhere, so that it hides nothing."""
        home = self.binder_home_dir.rstrip("/")
        found = []
        for mount in mounts:
            # An administrator may have given a dict.
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

    def _bring(self, spec: LaunchSpec, server: Any, mounts: list[V1VolumeMount]) -> Any:
        """Return the init container for the files. Its errors never fail a start."""
        arguments = content_arguments(
            spec,
            [self.binder_repo_dir, REPO_DIR, self.binder_home_dir],
            path="",
            limits=None,  # the server itself fetches changes
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
    """Prevent the expansion of ``$(NAME)``."""
    return text.replace("$", "$$")


class BinderKubeSpawner(BinderKubeMixin, KubeSpawner):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Starts environments as Kubernetes pods."""
