{{- /*
  What is made up once. A value that is given wins; then what the cluster already has; then a new
  one. All templates of one rendering see the same: it is kept beside the values.
*/}}

{{- define "binder.secrets" -}}
{{- if not (hasKey .Values "_secrets") -}}
{{- $name := include "binder.fullname" . -}}
{{- $kept := (lookup "v1" "Secret" .Release.Namespace $name).data | default dict -}}
{{- $made := dict -}}
{{- $_ := set $made "apiToken" (.Values.hub.apiToken | default (index $kept "api-token" | default "" | b64dec) | default (randAlphaNum 64 | sha256sum)) -}}
{{- $_ := set $made "buildToken" (.Values.binderhub.buildToken.secret | default (index $kept "build-token-secret" | default "" | b64dec) | default (randAlphaNum 64 | sha256sum)) -}}
{{- $_ := set $made "username" (.Values.registry.username | default "binder") -}}
{{- $password := .Values.registry.password -}}
{{- $htpasswd := "" -}}
{{- if .Values.registry.internal.enabled -}}
{{- $before := (lookup "v1" "Secret" .Release.Namespace (include "binder.registry.fullname" .)).data | default dict -}}
{{- $known := index $before "password" | default "" | b64dec -}}
{{- $password = $password | default $known | default (randAlphaNum 40) -}}
{{- $htpasswd = index $before "htpasswd" | default "" | b64dec -}}
{{- if or (not $htpasswd) (ne $password $known) (not (hasPrefix (printf "%s:" $made.username) $htpasswd)) -}}
{{- $htpasswd = htpasswd $made.username $password -}}
{{- end -}}
{{- end -}}
{{- $_ := set $made "password" $password -}}
{{- $_ := set $made "htpasswd" $htpasswd -}}
{{- $_ := set .Values "_secrets" $made -}}
{{- end -}}
{{- toJson (index .Values "_secrets") -}}
{{- end }}

{{- define "binder.apiTokenSecret" -}}
{{- with .Values.hub.existingSecret }}
name: {{ .name | default (include "binder.fullname" $) }}
key: {{ empty .name | ternary "api-token" .key }}
{{- end }}
{{- end }}

{{- define "binder.buildTokenSecret" -}}
{{- with .Values.binderhub.buildToken.existingSecret }}
name: {{ .name | default (include "binder.fullname" $) }}
key: {{ empty .name | ternary "build-token-secret" .key }}
{{- end }}
{{- end }}
