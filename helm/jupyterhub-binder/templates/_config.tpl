{{- /* What the chart itself sets for the service and for BinderHub; `config` comes after it. */}}

{{- define "binder.chartConfig" -}}
{{- $config := dict -}}
{{- $_ := set $config "JupyterHubBinder" (dict
  "backend" (eq .Values.builder.type "folders" | ternary "venv" "binderhub")
  "ip" "0.0.0.0"
  "port" 10101
  "state_dir" "/var/lib/jupyterhub-binder"
) -}}
{{- if eq .Values.builder.type "folders" -}}
{{- $config = merge $config (include "binder.folders.chartConfig" . | fromJson) -}}
{{- end -}}
{{- if include "binder.folders.besideBinderHub" . -}}
{{- $_ := set $config.JupyterHubBinder "backend" "auto" -}}
{{- $_ := set $config "AutoBackend" (dict "backends" (list "venv" "binderhub")) -}}
{{- end -}}
{{- if .Values.binderhub.enabled -}}
{{- $url := printf "http://%s:%v/" (include "binder.binderhub.fullname" .) .Values.binderhub.service.port -}}
{{- $_ := set $config "BinderHubBackend" (dict "url" $url) -}}
{{- end -}}
{{- if include "binder.registry.secretName" . -}}
{{- $_ := set $config "Registry" (dict
  "docker_config" "/etc/jupyterhub-binder/registry"
  "url" (include "binder.registry.url" .)
) -}}
{{- end -}}
{{- with .Values.archive -}}
{{- if .url -}}
{{- $_ := set $config "Archive" (dict "url" .url "endpoint" .endpoint "region" .region) -}}
{{- end -}}
{{- end -}}
{{- toJson $config -}}
{{- end }}

{{- define "binder.binderhub.chartConfig" -}}
{{- $binderhub := dict
  "enable_api_only_mode" true
  "auth_enabled" false
  "base_url" "/"
  "port" 8585
  "use_registry" .Values.registry.enabled
  "image_prefix" (include "binder.registry.imagePrefix" .)
-}}
{{- $executor := dict
  "build_image" (include "binder.image" .Values.binderhub.buildImage)
  "docker_host" (include "binder.builder.socketPath" .)
  "namespace" .Release.Namespace
  "push_secret" (include "binder.registry.secretName" .)
  "image_pull_secrets" .Values.imagePullSecrets
  "repo2docker_extra_args" (list "--target-repo-dir=/srv/repo")
-}}
{{- $config := dict "BinderHub" $binderhub "KubernetesBuildExecutor" $executor -}}
{{- if .Values.registry.enabled -}}
{{- $_ := set $config "DockerRegistry" (dict
  "url" (include "binder.registry.url" .)
  "auth_config_url" (include "binder.registry.authKey" .)
) -}}
{{- end -}}
{{- toJson $config -}}
{{- end }}

{{- /* A folder of the release's own on every node; the path of a socket has 107 characters at most. */}}
{{- define "binder.builder.folder" -}}
{{- printf "%s-%s" .Release.Namespace (include "binder.builder.fullname" .) | trunc 80 | trimSuffix "-" -}}
{{- end }}

{{- /* Where the builders' socket and images are on every node. */}}
{{- define "binder.builder.socketPath" -}}
{{- $builder := .Values.binderhub.builder -}}
{{- if $builder.socketPath -}}
{{- $builder.socketPath -}}
{{- else if eq $builder.type "host" -}}
/var/run/docker.sock
{{- else -}}
/var/run/{{ include "binder.builder.folder" . }}/docker.sock
{{- end -}}
{{- end }}

{{- define "binder.builder.storagePath" -}}
{{- $builder := .Values.binderhub.builder -}}
{{- if $builder.storagePath -}}
{{- $builder.storagePath -}}
{{- else if eq $builder.type "host" -}}
/var/lib/docker
{{- else -}}
/var/lib/{{ include "binder.builder.folder" . }}
{{- end -}}
{{- end }}
