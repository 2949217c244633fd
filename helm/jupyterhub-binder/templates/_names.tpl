{{- /* Names of everything, labels, and how pods are told apart. */}}

{{- define "binder.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default "binder" -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "binder.binderhub.fullname" -}}{{ include "binder.fullname" . }}-binderhub{{- end }}
{{- define "binder.builder.fullname" -}}{{ include "binder.fullname" . }}-builder{{- end }}
{{- define "binder.registry.fullname" -}}{{ include "binder.fullname" . }}-registry{{- end }}
{{- define "binder.imageCleaner.fullname" -}}{{ include "binder.fullname" . }}-image-cleaner{{- end }}
{{- define "binder.backup.fullname" -}}{{ include "binder.fullname" . }}-backup{{- end }}

{{- /* What selects pods, of one component: (list $ "service"). Never changes in an upgrade. */}}
{{- define "binder.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: jupyterhub-binder
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "binder.labels" -}}
{{- $root := index . 0 -}}
{{ include "binder.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- /* Service accounts: (list $ values name). */}}
{{- define "binder.serviceAccountName" -}}
{{- $account := index . 0 -}}
{{- if $account.create -}}
{{- $account.name | default (index . 1) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end }}

{{- /* Where the service is, for the hub and its proxy. */}}
{{- define "binder.url" -}}
http://{{ include "binder.fullname" . }}
{{- if ne (include "binder.hub.namespace" .) .Release.Namespace }}.{{ .Release.Namespace }}{{ end -}}
:{{ .Values.service.port }}
{{- end }}

{{- define "binder.prefix" -}}
{{- printf "%s/services/%s/" (.Values.hub.baseUrl | trimSuffix "/") .Values.hub.serviceName -}}
{{- end }}

{{- /* Where the hub sends people back to. JupyterHub's own rule names the service's subdomain. */ -}}
{{- define "binder.oauthCallback" -}}
{{- with .Values.hub.publicHost -}}
{{- $url := urlParse . -}}
{{- printf "%s://%s--service.%s" $url.scheme $.Values.hub.serviceName $url.host -}}
{{- end -}}
{{- include "binder.prefix" . }}oauth_callback
{{- end }}

{{- define "binder.hub.namespace" -}}
{{- .Values.hub.namespace | default .Release.Namespace -}}
{{- end }}

{{- define "binder.hub.apiUrl" -}}
{{- $host := "hub" -}}
{{- if ne (include "binder.hub.namespace" .) .Release.Namespace -}}
{{- $host = printf "hub.%s" .Values.hub.namespace -}}
{{- end -}}
{{- .Values.hub.apiUrl | default (printf "http://%s:8081%s/hub/api" $host (.Values.hub.baseUrl | trimSuffix "/")) -}}
{{- end }}
