{{- /* Rejects values that contradict each other, with a message that says what to do. */}}
{{- define "binder.check" -}}
{{- $backend := dig "JupyterHubBinder" "backend" "binderhub" .Values.config -}}
{{- include "binder.checkFolders" . -}}
{{- if and (ne .Values.builder.type "folders") (eq $backend "binderhub") (not .Values.binderhub.enabled) (not (dig "BinderHubBackend" "url" "" .Values.config)) (not .Values.extraConfig) -}}
{{- fail "There is nothing that builds. Set builder.type: folders, or binderhub.enabled: true, or config.BinderHubBackend.url to a BinderHub that you have, or config.JupyterHubBinder.backend: fake to try the pages." -}}
{{- end -}}
{{- $database := or .Values.database.url .Values.database.existingSecret.name (dig "JupyterHubBinder" "database_url" "" .Values.config) -}}
{{- if and (not .Values.persistence.enabled) (not $database) -}}
{{- fail "persistence.enabled: false would lose everybody's environments when the pod ends. Leave it on, or set database.url or database.existingSecret for a PostgreSQL database." -}}
{{- end -}}
{{- if and .Values.database.url .Values.database.existingSecret.name -}}
{{- fail "database.url and database.existingSecret say the same thing twice. Set only one of them." -}}
{{- end -}}
{{- include "binder.checkRegistry" . -}}
{{- include "binder.checkMetrics" . -}}
{{- include "binder.checkBackup" . -}}
{{- include "binder.checkCleaner" . -}}
{{- end }}

{{- define "binder.checkRegistry" -}}
{{- with .Values.registry -}}
{{- if and .existingSecret (or .username .password) -}}
{{- fail "registry.existingSecret contains the credentials: leave registry.username and registry.password empty." -}}
{{- end -}}
{{- if and .existingSecret .internal.enabled -}}
{{- fail "registry.existingSecret: the chart's own registry makes its credentials. Leave registry.existingSecret empty; you can set registry.username and registry.password." -}}
{{- end -}}
{{- if ne (empty .password) (empty .username) -}}
{{- fail "registry.username and registry.password: give both, or neither." -}}
{{- end -}}
{{- if and .internal.enabled (not .enabled) -}}
{{- fail "registry.internal.enabled needs registry.enabled." -}}
{{- end -}}
{{- if contains "://" .imagePrefix -}}
{{- fail (printf "registry.imagePrefix is the beginning of images' names, not a URL: write %s. If the registry's API is at another address, set registry.url." (regexReplaceAll "^.*://" .imagePrefix "")) -}}
{{- end -}}
{{- if and .imagePrefix (not (contains "/" .imagePrefix)) -}}
{{- fail (printf "registry.imagePrefix: %s names no registry and account. Write for example registry.example.org/binder/env-, or docker.io/<account>/env-." .imagePrefix) -}}
{{- end -}}
{{- if and .internal.enabled (not .internal.nodePort) (not .internal.host) -}}
{{- fail "registry.internal.enabled needs registry.internal.nodePort, a free port from 30000 to 32767: the nodes pull through it. Leave it out only if registry.internal.host is a name by which every node reaches the registry." -}}
{{- end -}}
{{- if and $.Values.binderhub.enabled .enabled (not .imagePrefix) (not .internal.enabled) -}}
{{- fail "BinderHub needs a registry to push to: set registry.imagePrefix (registry.example.org/binder/env-), or registry.internal.enabled: true." -}}
{{- end -}}
{{- if and $.Values.binderhub.enabled (not .enabled) (ne $.Values.binderhub.builder.type "host") -}}
{{- fail "registry.enabled: false works only if builders and servers share one Docker: binderhub.builder.type: host." -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "binder.checkMetrics" -}}
{{- $open := eq (dig "JupyterHubBinder" "authenticate_metrics" true .Values.config) false -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not $open) (not .Values.metrics.serviceMonitor.tokenSecret.name) -}}
{{- fail "metrics.serviceMonitor needs tokenSecret.name: a secret with a hub token that has the scopes read:metrics and access:services!service=binder." -}}
{{- end -}}
{{- end }}

{{- define "binder.checkBackup" -}}
{{- if and .Values.backup.enabled (not (include "binder.postgresql" .)) (has "ReadWriteOncePod" .Values.persistence.accessModes) -}}
{{- fail "backup.enabled: a second pod must mount the service's volume. Set persistence.accessModes: [ReadWriteOnce], or copy the database with kubectl exec." -}}
{{- end -}}
{{- end }}

{{- define "binder.checkCleaner" -}}
{{- $builder := .Values.binderhub.builder -}}
{{- if and .Values.imageCleaner.enabled (not .Values.binderhub.enabled) (not $builder.socketPath) (ne $builder.type "host") -}}
{{- fail "imageCleaner.enabled: there are no builders to clean. Set binderhub.enabled: true, or set binderhub.builder.socketPath for another engine." -}}
{{- end -}}
{{- if and .Values.imageCleaner.enabled (not .Values.imageCleaner.prune.enabled) (not .Values.imageCleaner.threshold.enabled) -}}
{{- fail "imageCleaner.enabled: turn on imageCleaner.prune, imageCleaner.threshold, or both." -}}
{{- end -}}
{{- end }}
