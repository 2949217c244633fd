{{- /* Environments as folders: names, and what the service is told. */}}

{{- define "binder.folders.path" -}}/srv/jupyterhub-binder/environments{{- end }}
{{- define "binder.folders.buildName" -}}{{ include "binder.fullname" . }}-build{{- end }}
{{- define "binder.folders.prePullerName" -}}{{ include "binder.fullname" . }}-pre-puller{{- end }}

{{- define "binder.folders.claim" -}}
{{- .Values.builder.folders.persistence.existingClaim | default (printf "%s-environments" (include "binder.fullname" .)) -}}
{{- end }}

{{- define "binder.folders.image" -}}
{{- with .Values.builder.folders.image -}}
{{- include "binder.image" (dict "name" .name "tag" (.tag | default $.Chart.AppVersion)) -}}
{{- end -}}
{{- end }}

{{- /* The options of the service, as JSON. */}}
{{- define "binder.folders.chartConfig" -}}
{{- $folders := .Values.builder.folders -}}
{{- $config := dict
  "VenvBackend" (dict
    "where" "kubernetes"
    "environments_root" (include "binder.folders.path" .)
    "servers_cannot_write" true
  )
  "BuildPods" (dict
    "image" (include "binder.service.image" .)
    "image_pull_policy" .Values.image.pullPolicy
    "image_pull_secrets" .Values.imagePullSecrets
    "claim" (include "binder.folders.claim" .)
    "labels" (include "binder.selector" (list . "build") | fromYaml)
    "resources" $folders.builds.resources
    "max_seconds" $folders.builds.maxSeconds
    "user_namespaces" $folders.builds.userNamespaces
    "runtime_class" $folders.builds.runtimeClassName
    "node_selector" $folders.builds.nodeSelector
    "tolerations" $folders.builds.tolerations
    "affinity" $folders.builds.affinity
  )
-}}
{{- with $folders.maxGigabytes -}}
{{- $_ := set $config "Cleanup" (dict "budget_bytes" (mul . 1073741824)) -}}
{{- end -}}
{{- toJson $config -}}
{{- end }}

{{- /* Not empty if a BinderHub builds what can't be a folder. */}}
{{- define "binder.folders.besideBinderHub" -}}
{{- if and (eq .Values.builder.type "folders") (or .Values.binderhub.enabled (dig "BinderHubBackend" "url" "" .Values.config)) -}}
true
{{- end -}}
{{- end }}

{{- define "binder.checkFolders" -}}
{{- $backend := dig "JupyterHubBinder" "backend" "" .Values.config -}}
{{- if eq .Values.builder.type "folders" -}}
{{- if and $backend (not (has $backend (list "venv" "auto"))) -}}
{{- fail (printf "builder.type: folders makes the environments, but config.JupyterHubBinder.backend is %s. Leave one of them out." $backend) -}}
{{- end -}}
{{- if ne (include "binder.hub.namespace" .) .Release.Namespace -}}
{{- fail "builder.type: folders: servers mount the volume of environments, so the chart must be in the hub's namespace. Leave hub.namespace empty and install the chart there." -}}
{{- end -}}
{{- if not .Values.networkPolicy.enabled -}}
{{- fail "builder.type: folders runs repositories' own code in pods, and only network policies keep these away from the cluster. Leave networkPolicy.enabled on." -}}
{{- end -}}
{{- if not (dig "runAsUser" 0 .Values.podSecurityContext) -}}
{{- fail "builder.type: folders needs podSecurityContext.runAsUser: pods for builds get the service's user, which must not be root." -}}
{{- end -}}
{{- if has "ReadWriteOncePod" .Values.builder.folders.persistence.accessModes -}}
{{- fail "builder.folders.persistence.accessModes: servers and pods for builds mount the same volume. Choose ReadWriteOnce for one node, ReadWriteMany for several." -}}
{{- end -}}
{{- else if eq $backend "venv" -}}
{{- fail "config.JupyterHubBinder.backend: `venv` makes folders on a volume, which the chart sets up with builder.type: folders. Leave the backend out." -}}
{{- end -}}
{{- end }}
