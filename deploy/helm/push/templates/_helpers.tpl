{{- define "push.labels" -}}
app.kubernetes.io/name: push
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "push.image" -}}
{{ with .root.Values.image.registry }}{{ . }}/{{ end }}{{ .program }}:{{ .tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* The most workers there may be: they share what Expo takes of a project. */}}
{{- define "push.workers" -}}
{{ if .Values.worker.keda.enabled }}{{ .Values.worker.keda.maxReplicas }}{{ else }}{{ .Values.worker.replicas }}{{ end }}
{{- end }}

{{- define "push.expoRate" -}}
{{- $share := div .Values.expo.ratePerProject (int (include "push.workers" .)) -}}
{{- if lt (int $share) 1 }}{{ fail "expo.ratePerProject is less than one for each worker: fewer workers, please" }}{{ end -}}
{{ $share }}
{{- end }}

{{- define "push.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "push.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "push.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: { matchLabels: { app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }} } }
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: { matchLabels: { app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }} } }
{{- end }}

{{- define "push.probes" -}}
startupProbe: { httpGet: { path: /healthz, port: probes }, periodSeconds: 2, failureThreshold: 60 }
livenessProbe: { httpGet: { path: /healthz, port: probes }, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 3 }
readinessProbe: { httpGet: { path: /readyz, port: probes }, periodSeconds: 2, timeoutSeconds: 3, failureThreshold: 2 }
{{- end }}

{{/* What is secret, as files: the settings that a list names. */}}
{{- define "push.secretEnv" -}}
{{- range . }}
- { name: {{ . }}_FILE, value: /run/secrets/push/{{ . }} }
{{- end }}
{{- end }}

{{- define "push.secretVolume" -}}
- name: secrets
  secret:
    secretName: {{ .root.Values.existingSecret }}
    defaultMode: 0440
    items:
      {{- range .secrets }}
      - { key: {{ . }}, path: {{ . }} }
      {{- end }}
{{- end }}

{{/* The name of what holds the authorities; empty without. */}}
{{- define "push.authority" -}}
{{- with .Values.authority -}}
{{- if and .existingSecret .existingConfigMap }}{{ fail "authority: a Secret or a ConfigMap, not both" }}{{ end -}}
{{ .existingSecret | default .existingConfigMap }}
{{- end }}
{{- end }}

{{- define "push.authorityEnv" -}}
{{- if include "push.authority" . }}
- { name: SSL_CERT_FILE, value: /run/authority/ca.crt }
{{- end }}
{{- end }}

{{- define "push.authorityMount" -}}
{{- if include "push.authority" . }}
- { name: authority, mountPath: /run/authority, readOnly: true }
{{- end }}
{{- end }}

{{- define "push.authorityVolume" -}}
{{- if include "push.authority" . }}
{{- $items := list (dict "key" .Values.authority.key "path" "ca.crt") }}
- name: authority
  {{- if .Values.authority.existingSecret }}
  secret: { secretName: {{ .Values.authority.existingSecret }}, defaultMode: 0440, items: {{ toJson $items }} }
  {{- else }}
  configMap: { name: {{ .Values.authority.existingConfigMap }}, items: {{ toJson $items }} }
  {{- end }}
{{- end }}
{{- end }}

{{- define "push.settings" -}}
{{- range $name, $value := . }}
- { name: {{ $name }}, value: {{ $value | toString | quote }} }
{{- end }}
{{- end }}

{{- define "push.apiEnv" -}}
- { name: MIGRATE_ON_START, value: "false" }
- { name: HTTP_ADDR, value: "0.0.0.0:8080" }
- { name: METRICS_ADDR, value: "0.0.0.0:9090" }
- { name: SHUTDOWN_GRACE, value: "{{ .Values.shutdownGraceSeconds }}s" }
- { name: SHUTDOWN_DRAIN, value: "{{ .Values.api.drainSeconds }}s" }
{{- include "push.authorityEnv" . }}
{{- include "push.secretEnv" .Values.api.secrets }}
{{- include "push.settings" .Values.api.settings }}
{{- end }}
