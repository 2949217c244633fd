{{- /* Parts that the pods have in common. */}}

{{- define "binder.image" -}}
{{- if regexMatch "://|@|:[^/]*$" .name -}}
{{- fail (printf "An image's name is %q. Write it without https:// and without a tag, and put the tag into `tag` beside it." .name) -}}
{{- end -}}
{{ .name }}:{{ .tag }}
{{- end }}

{{- define "binder.service.image" -}}
{{- include "binder.image" (dict "name" .Values.image.name "tag" (.Values.image.tag | default .Chart.AppVersion)) -}}
{{- end }}

{{- define "binder.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Variables out of a map: a text, or what Kubernetes takes (`valueFrom`). */}}
{{- define "binder.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  {{- if kindIs "map" $value }}
  {{- toYaml $value | nindent 2 }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Whether the database is a PostgreSQL server, not SQLite on the service's volume. */}}
{{- define "binder.postgresql" -}}
{{- $configured := dig "JupyterHubBinder" "database_url" "" .Values.config -}}
{{- if or .Values.database.url .Values.database.existingSecret.name (hasPrefix "postgresql" $configured) -}}
true
{{- end -}}
{{- end }}

{{- define "binder.databaseEnv" -}}
{{- if or .Values.database.url .Values.database.existingSecret.name }}
- name: JUPYTERHUB_BINDER_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret.name | default (include "binder.fullname" .) }}
      key: {{ empty .Values.database.url | ternary .Values.database.existingSecret.key "database-url" }}
{{- end }}
{{- end }}

{{- /* The archive's keys, under the names that Amazon's tools read. */}}
{{- define "binder.archiveEnv" -}}
{{- if and .url .existingSecret }}
{{- $secret := .existingSecret -}}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $name }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Where pods run: whatever of it the values have. */}}
{{- define "binder.placing" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
{{- with index $ $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "binder.probe" -}}
{{- $probe := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: http
{{ toYaml $probe }}
{{- end }}

{{- /* A claim for a volume: (list $ "component" "name" values). */}}
{{- define "binder.claim" -}}
{{- $root := index . 0 -}}
{{- $values := index . 3 -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ index . 2 }}
  labels:
    {{- include "binder.labels" (list $root (index . 1)) | nindent 4 }}
  {{- with $values.annotations }}
  annotations: {{ toJson . }}
  {{- end }}
spec:
  accessModes: {{ toJson $values.accessModes }}
  {{- with $values.storageClassName }}
  storageClassName: {{ eq . "-" | ternary "" . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $values.size }}
{{- end }}

{{- define "binder.claimVolume" -}}
{{- $values := index . 1 -}}
{{- if $values.enabled -}}
persistentVolumeClaim:
  claimName: {{ $values.existingClaim | default (index . 0) }}
{{- else -}}
emptyDir: {}
{{- end -}}
{{- end }}
