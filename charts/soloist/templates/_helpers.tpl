{{- define "soloist.operator" -}}{{ .Release.Name }}-operator{{- end }}
{{- define "soloist.exchange" -}}{{ .Release.Name }}-exchange{{- end }}

{{/* Cluster-scoped names carry the release's namespace, so that two releases do not share a role. */}}
{{- define "soloist.clusterName" -}}{{ .Release.Name }}-{{ .Release.Namespace }}{{- end }}

{{- define "soloist.labels" -}}
app.kubernetes.io/part-of: soloist
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "soloist.operator.selector" -}}
app.kubernetes.io/name: soloist-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "soloist.exchange.selector" -}}
app.kubernetes.io/name: soloist-exchange
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "soloist.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "soloist.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/*
The exchange's certificate: what the cluster holds already, else a new one. Two templates need the same one, so the first
that asks leaves it in .Values.
*/}}
{{- define "soloist.exchange.certificate" -}}
{{- if not (hasKey .Values.exchange "madeCertificate") }}
{{- $name := include "soloist.exchange" . }}
{{- $held := lookup "v1" "Secret" .Release.Namespace (printf "%s-tls" $name) }}
{{- $certificate := dict }}
{{- if and $held $held.data (index $held.data "ca.crt") (index $held.data "tls.crt") (index $held.data "tls.key") }}
{{- $certificate = $held.data }}
{{- else }}
{{- $authority := genCA (printf "%s-ca" $name) 3650 }}
{{- $host := printf "%s.%s.svc" $name .Release.Namespace }}
{{- $names := list $host (printf "%s.cluster.local" $host) (printf "%s.%s" $name .Release.Namespace) $name "localhost" }}
{{- $leaf := genSignedCert $host (list "127.0.0.1") $names 3650 $authority }}
{{- $certificate = dict "ca.crt" ($authority.Cert | b64enc) "tls.crt" ($leaf.Cert | b64enc) "tls.key" ($leaf.Key | b64enc) }}
{{- end }}
{{- $_ := set .Values.exchange "madeCertificate" $certificate }}
{{- end }}
{{- .Values.exchange.madeCertificate | toJson }}
{{- end }}

{{/* The operator's settings file, docs/interfaces.md "Operator settings". */}}
{{- define "soloist.settings" -}}
{{- $venues := dict }}
{{- range $name, $venue := .Values.venues }}
{{- if $venue }}
{{- $_ := set $venues $name $venue }}
{{- end }}
{{- end }}
{{- if .Values.exchange.enabled }}
{{- if hasKey $venues "simulator" }}
{{- fail "venues.simulator is made by exchange.enabled: remove one of the two" }}
{{- end }}
{{- $host := printf "%s.%s.svc:8443" (include "soloist.exchange" .) .Release.Namespace }}
{{- $selector := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace)) "podSelector" (dict "matchLabels" (include "soloist.exchange.selector" . | fromYaml)) }}
{{- $egress := dict "to" (list $selector) "ports" (list (dict "port" 8443 "protocol" "TCP")) }}
{{- $authority := index (include "soloist.exchange.certificate" . | fromJson) "ca.crt" | b64dec }}
{{- $_ := set $venues "simulator" (dict "restUrl" (printf "https://%s/trade-api/v2" $host) "websocketUrl" (printf "wss://%s/trade-api/ws/v2" $host) "caBundle" $authority "revocationBoundMs" (.Values.exchange.revocationBoundMs | int) "egress" (list $egress)) }}
{{- end }}
{{- if not $venues }}
{{- fail "no venue profile is left: add one to venues, or set exchange.enabled" }}
{{- end }}
{{- $namespaces := list }}
{{- range .Values.botNamespaces }}
{{- $namespaces = append $namespaces .name }}
{{- end }}
{{- dict
  "images" (dict "trader" .Values.images.trader "fence" .Values.images.operator "pullPolicy" .Values.images.pullPolicy)
  "watchNamespaces" $namespaces
  "serviceAccounts" .Values.serviceAccounts
  "venues" $venues
  | toYaml }}
{{- end }}

{{/* Annotations of everything that `helm uninstall` makes before it removes anything. */}}
{{- define "soloist.guardHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
# The refusal itself is what a person has to read.
helm.sh/hook-output-log-policy: hook-failed
{{- end }}
