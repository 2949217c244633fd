{{- /* Where images are, derived from the few values of `registry`. */}}

{{- define "binder.registry.internalHost" -}}
{{- with .Values.registry.internal -}}
{{- .host | default (printf "%s.%s.svc.cluster.local:%v" (include "binder.registry.fullname" $) $.Release.Namespace .port) -}}
{{- end -}}
{{- end }}

{{- /* What images' names begin with. */}}
{{- define "binder.registry.imagePrefix" -}}
{{- if .Values.registry.imagePrefix -}}
{{- .Values.registry.imagePrefix -}}
{{- else if .Values.registry.internal.enabled -}}
{{- include "binder.registry.internalHost" . }}/env-
{{- else if not .Values.registry.enabled -}}
binder/env-
{{- end -}}
{{- end }}

{{- define "binder.registry.host" -}}
{{- $first := include "binder.registry.imagePrefix" . | splitList "/" | first -}}
{{- if or (contains "." $first) (contains ":" $first) (eq $first "localhost") -}}
{{- $first -}}
{{- else -}}
docker.io
{{- end -}}
{{- end }}

{{- /* Where the registry's API is. */}}
{{- define "binder.registry.url" -}}
{{- $host := include "binder.registry.host" . -}}
{{- if .Values.registry.url -}}
{{- .Values.registry.url -}}
{{- else if .Values.registry.internal.enabled -}}
http://{{ include "binder.registry.fullname" . }}.{{ .Release.Namespace }}.svc.cluster.local:{{ .Values.registry.internal.port }}
{{- else if eq $host "docker.io" -}}
https://registry-1.docker.io
{{- else -}}
https://{{ $host }}
{{- end -}}
{{- end }}

{{- /* Under which name Docker's config.json keeps the credentials. */}}
{{- define "binder.registry.authKey" -}}
{{- $host := include "binder.registry.host" . -}}
{{- eq $host "docker.io" | ternary "https://index.docker.io/v1/" $host -}}
{{- end }}

{{- /* The secret with the credentials; empty where the registry asks for none. */}}
{{- define "binder.registry.secretName" -}}
{{- with .Values.registry -}}
{{- if .enabled -}}
{{- if .existingSecret -}}
{{- .existingSecret -}}
{{- else if or .password .internal.enabled -}}
{{- include "binder.fullname" $ }}-registry-credentials
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
