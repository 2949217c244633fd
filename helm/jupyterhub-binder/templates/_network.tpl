{{- /* Rules that several network policies have in common. */}}

{{- define "binder.net.dns" -}}
# names
- to: {{ toJson .Values.networkPolicy.dnsTo }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- /* The internet at some ports, no cluster's address: (list $ ports). */}}
{{- define "binder.net.internet" -}}
{{- $policy := (index . 0).Values.networkPolicy -}}
{{- with index . 1 -}}
# the internet, and no address of the cluster or of the machines around it
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ toJson $policy.privateCidrs }}
    - ipBlock:
        cidr: ::/0
        except: {{ toJson $policy.privateCidrs6 }}
  ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{- /*
  The same ports, and that of a registry outside which has one of its own: (list $ ports). For who
  pushes or looks up.
*/}}
{{- define "binder.net.internetAndRegistry" -}}
{{- $root := index . 0 -}}
{{- $ports := index . 1 -}}
{{- $port := (urlParse (include "binder.registry.url" $root)).host | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- if and $port $root.Values.registry.enabled (not $root.Values.registry.internal.enabled) -}}
{{- $ports = append $ports (int $port) | uniq -}}
{{- end -}}
{{- include "binder.net.internet" (list $root $ports) -}}
{{- end }}

{{- /* The pods of one of our components, at a port: (list $ "registry" 5000). */}}
{{- define "binder.net.to" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "binder.selector" . | nindent 10 }}
  ports:
    - {port: {{ index . 2 }}, protocol: TCP}
{{- end }}

{{- /* The hub's pods as a peer: (list $ "hub"). */}}
{{- define "binder.net.hubPeer" -}}
{{- $root := index . 0 -}}
- podSelector:
    matchLabels:
      {{- toYaml $root.Values.hub.podLabels | nindent 6 }}
      component: {{ index . 1 }}
  {{- if ne (include "binder.hub.namespace" $root) $root.Release.Namespace }}
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ $root.Values.hub.namespace }}
  {{- end }}
{{- end }}

{{- define "binder.net.kubernetes" -}}
# Kubernetes' own API
- to:
    {{- range .Values.networkPolicy.kubernetesApi.cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    {{- range .Values.networkPolicy.kubernetesApi.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- /* The head of a policy: (list $ "component"), and its name after it. */}}
{{- define "binder.net.head" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ index . 2 }}
  labels:
    {{- include "binder.labels" . | nindent 4 }}
{{- end }}
