{{/* Names as the API server writes them into a request. */}}
{{- define "soloist.admission.operator" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "soloist.operator" . }}
{{- end }}

{{/* The namespaces of this release: a list in CEL, and in YAML. */}}
{{- define "soloist.admission.namespaces" -}}
{{- $names := list }}
{{- range .Values.botNamespaces }}
{{- $names = append $names .name }}
{{- end }}
{{- $names | toJson }}
{{- end }}

{{/* Who takes apart what a deletion leaves, in clusters with and without a service account for each controller. */}}
{{- define "soloist.admission.collectors" -}}
["system:serviceaccount:kube-system:generic-garbage-collector", "system:serviceaccount:kube-system:namespace-controller", "system:kube-controller-manager"]
{{- end }}

{{/* Head of a policy: {root, topic}. */}}
{{- define "soloist.admission.policy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "soloist.clusterName" .root }}-{{ .topic }}
  labels: {{- include "soloist.labels" .root | nindent 4 }}
{{- end }}

{{/* Its binding: {root, topic, operator: In or NotIn}. Two releases do not deny each other: each binds its own namespaces. */}}
{{- define "soloist.admission.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "soloist.clusterName" .root }}-{{ .topic }}
  labels: {{- include "soloist.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "soloist.clusterName" .root }}-{{ .topic }}
  validationActions: [Deny]
  matchResources:
    namespaceSelector:
      matchExpressions:
        - {key: kubernetes.io/metadata.name, operator: {{ .operator | default "In" }}, values: {{ include "soloist.admission.namespaces" .root }}}
{{- end }}
