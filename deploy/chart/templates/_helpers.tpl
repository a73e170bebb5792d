{{/* Labels of every object; argument: dict "root" $ "component" "interceptor". */}}
{{- define "kipper.labels" -}}
{{ include "kipper.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "kipper.podLabels" -}}
{{ include "kipper.selector" . }}
app.kubernetes.io/part-of: kipper
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{/* What Deployments and Services select by. It must never change: selectors are immutable. */}}
{{- define "kipper.selector" -}}
app.kubernetes.io/name: kipper-functions
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Components of the scaler-adapters, one for each shard, as a JSON list. */}}
{{- define "kipper.adapters" -}}
{{- $adapter := .Values.scalerAdapter -}}
{{- /* With one more of each shard while a new release rolls out. */ -}}
{{- if gt (mul $adapter.shards (add1 $adapter.replicas)) 128 -}}
{{- fail "scalerAdapter.shards times (scalerAdapter.replicas + 1) must be at most 128: interceptors report to no more adapters" -}}
{{- end -}}
{{- $components := list "scaler-adapter" -}}
{{- range $shard := untilStep 1 (int .Values.scalerAdapter.shards) 1 -}}
{{- $components = append $components (printf "scaler-adapter-%d" $shard) -}}
{{- end -}}
{{- toJson $components -}}
{{- end }}

{{/* What all adapters have, of whichever shard; no Deployment selects by it. */}}
{{- define "kipper.adapterFleet" -}}
kipper.run/fleet: scaler-adapter
{{- end }}

{{/* An image; argument: dict "root" $ "image" (override) "name" (in the registry). */}}
{{- define "kipper.image" -}}
{{- $image := .root.Values.image -}}
{{- .image | default (printf "%s/%s:%s" (trimSuffix "/" $image.registry) .name ($image.tag | default .root.Chart.AppVersion)) -}}
{{- end }}

{{/* Namespaces without functions, as a JSON list, which is also a list in CEL. */}}
{{- define "kipper.deniedNamespaces" -}}
{{- $always := list "kube-system" "kube-public" "kube-node-lease" .Values.kedaNamespace .Release.Namespace -}}
{{- concat $always .Values.functions.deniedNamespaces | uniq | sortAlpha | toJson -}}
{{- end }}

{{/* The networks behind interceptor.trustedProxies, as a comma list. */}}
{{- define "kipper.trustedProxies" -}}
{{- $proxies := .Values.interceptor.trustedProxies -}}
{{- if kindIs "string" $proxies -}}
{{- if eq .Values.interceptor.service.type "ClusterIP" -}}
10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7
{{- end -}}
{{- else -}}
{{- join "," $proxies -}}
{{- end -}}
{{- end }}

{{/* Who may read metrics, as a JSON list; nothing where nobody may. */}}
{{- define "kipper.metricsPeers" -}}
{{- if .Values.networkPolicy.metricsPeers -}}
{{- toJson .Values.networkPolicy.metricsPeers -}}
{{- else if .Values.serviceMonitor.enabled -}}
[{"namespaceSelector":{}}]
{{- end -}}
{{- end }}

{{- define "kipper.logArgs" -}}
- {{ printf "--log-level=%s" .Values.log.level | quote }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{/* Where pods may run and how they are spread; argument as for labels. */}}
{{- define "kipper.scheduling" -}}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- if and .spread .root.Values.topologySpread.enabled }}
# A wish, not a condition: on one node all replicas run there. By template hash, so that a
# rollout's old pods do not push the new ones together.
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "kipper.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The pod security of every pod of ours: the "restricted" standard and a read-only root. */}}
{{- define "kipper.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
# A Service named kipper-interceptor would otherwise put KIPPER_INTERCEPTOR_* variables of its own
# into the pods, which are read as settings.
enableServiceLinks: false
{{- end }}

{{- define "kipper.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* Probes on the admin port. Liveness is patient: a busy process must not be taken for a dead one. */}}
{{- define "kipper.probes" -}}
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}
