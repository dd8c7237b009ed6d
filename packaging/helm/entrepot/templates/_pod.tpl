{{/* The pod of the Deployment and of the StatefulSet. */}}
{{- define "entrepot.pod" -}}
metadata:
  labels:
    {{- include "entrepot.labels" . | nindent 4 }}
    app.kubernetes.io/component: registry
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Another configuration begins other pods.
    checksum/config: {{ include "entrepot.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "entrepot.fullname" . }}
  automountServiceAccountToken: false
  # Kubernetes' variables of a Service called entrepot would begin like ours.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "entrepot.grace" . }}
  securityContext:
    {{- include "entrepot.podSecurity" . | nindent 4 }}
  containers:
    - name: entrepot
      image: {{ include "entrepot.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/entrepot/entrepot.toml]
      {{- with include "entrepot.env" . }}
      env:
        {{- . | trim | nindent 8 }}
      {{- end }}
      ports:
        - name: registry
          containerPort: 5000
        - name: admin
          containerPort: 5001
      # A large cache or a slow bucket may take a while at first.
      startupProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if .Values.drain.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ int .Values.drain.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- include "entrepot.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/entrepot
          readOnly: true
        - name: cache
          mountPath: /var/cache/entrepot
        - name: tmp
          mountPath: /tmp
        {{- if not (include "entrepot.isS3" .) }}
        - name: data
          mountPath: /var/lib/entrepot
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "entrepot.selector" . | nindent 10 }}
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "entrepot.selector" . | nindent 10 }}
  volumes:
    - {{- include "entrepot.configVolume" . | nindent 6 }}
    - name: cache
      emptyDir:
        sizeLimit: {{ .Values.cache.sizeLimit }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- if and (not (include "entrepot.isS3" .)) .Values.storage.volume.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.storage.volume.existingClaim }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
