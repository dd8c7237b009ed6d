{{- define "entrepot.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "entrepot.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "entrepot.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "entrepot.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "entrepot.selector" -}}
app.kubernetes.io/name: {{ include "entrepot.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "entrepot.labels" -}}
{{ include "entrepot.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "entrepot.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "entrepot.isS3" -}}
{{- if eq .Values.storage.type "s3" }}yes{{ end }}
{{- end }}

{{- define "entrepot.adminSecret" -}}
{{- default (printf "%s-admin" (include "entrepot.fullname" .)) .Values.auth.existingSecret }}
{{- end }}

{{- define "entrepot.fleetSecret" -}}
{{- default (printf "%s-fleet" (include "entrepot.fullname" .)) .Values.fleet.existingSecret }}
{{- end }}

{{- define "entrepot.servicePort" -}}
{{- if .Values.service.port }}{{ .Values.service.port }}{{ else if .Values.tls.existingSecret }}443{{ else }}5000{{ end }}
{{- end }}

{{/* From the beginning of the stop to SIGKILL: what it may take, and a little more. */}}
{{- define "entrepot.grace" -}}
{{- add (int .Values.drain.preStopSeconds) (int .Values.drain.delaySeconds) (int .Values.drain.timeoutSeconds) 15 }}
{{- end }}

{{- define "entrepot.realm" -}}
{{- if .Values.auth.realm }}
{{- .Values.auth.realm }}
{{- else if .Values.ingress.enabled }}
{{- printf "%s://%s/token" (ternary "https" "http" (ne .Values.ingress.tlsSecret "")) .Values.ingress.host }}
{{- end }}
{{- end }}

{{- define "entrepot.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "entrepot.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the configuration cannot say by a file, and who commands in the pod log in as. */}}
{{- define "entrepot.env" -}}
{{- if .Values.auth.enabled }}
- name: ENTREPOT_ADMIN_USER
  value: {{ .Values.auth.username | quote }}
- name: ENTREPOT_ADMIN_PASSWORD_FILE
  value: /etc/entrepot/admin.password
{{- end }}
{{- if and (include "entrepot.isS3" .) .Values.storage.s3.existingSecret }}
- name: ENTREPOT_STORAGE__ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .Values.storage.s3.existingSecret }}
      key: access-key-id
{{- end }}
{{- if and .Values.redis.url (not .Values.tls.existingSecret) }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: ENTREPOT_FLEET__ADVERTISE
  value: {{ ternary "http://[$(POD_IP)]:5000" "http://$(POD_IP):5000" (contains ":" .Values.listen) }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* All of /etc/entrepot: one folder, whose files change together. */}}
{{- define "entrepot.configVolume" -}}
name: config
projected:
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ include "entrepot.fullname" . }}
    {{- if .Values.auth.enabled }}
    - secret:
        name: {{ include "entrepot.adminSecret" . }}
        items:
          - key: password
            path: admin.password
    {{- with .Values.auth.htpasswdSecret }}
    - secret:
        name: {{ . }}
        items:
          - key: htpasswd
            path: htpasswd
    {{- end }}
    {{- end }}
    {{- with .Values.tls.existingSecret }}
    - secret:
        name: {{ . }}
        items:
          - key: tls.crt
            path: tls/tls.crt
          - key: tls.key
            path: tls/tls.key
    {{- end }}
    {{- if include "entrepot.isS3" . }}
    - secret:
        name: {{ include "entrepot.fleetSecret" . }}
        items:
          - key: fleet.secret
            path: fleet.secret
    {{- with .Values.storage.s3.existingSecret }}
    - secret:
        name: {{ . }}
        items:
          - key: secret-access-key
            path: s3.secret
    {{- end }}
    {{- end }}
    {{- if .Values.redis.url }}
    {{- with .Values.redis.existingSecret }}
    - secret:
        name: {{ . }}
        items:
          - key: password
            path: redis.password
    {{- end }}
    {{- end }}
{{- end }}
