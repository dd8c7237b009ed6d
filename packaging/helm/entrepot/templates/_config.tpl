{{/* entrepot.toml: conf/entrepot.toml has every key. */}}
{{- define "entrepot.config" -}}
[[listener]]
address = "{{ .Values.listen }}:5000"
{{- if .Values.tls.existingSecret }}
tls = [{ certificate = "/etc/entrepot/tls/tls.crt", key = "/etc/entrepot/tls/tls.key" }]
{{- end }}
trusted_proxies = {{ toJson .Values.trustedProxies }}

[admin]
address = "{{ .Values.listen }}:5001"

[log]
level = {{ quote .Values.log.level }}
format = {{ quote .Values.log.format }}

[drain]
delay = "{{ int .Values.drain.delaySeconds }}s"
timeout = "{{ int .Values.drain.timeoutSeconds }}s"

[cache]
memory = {{ quote .Values.cache.memory }}
disk = {{ quote .Values.cache.disk }}
path = "/var/cache/entrepot/blobs"

[registry]
{{- if not .Values.auth.enabled }}
open_writes = true
{{- end }}
spool = "/var/cache/entrepot/spool"

[storage]
{{- if include "entrepot.isS3" . }}
driver = "s3"
{{- with .Values.storage.s3 }}
bucket = {{ required "storage.s3.bucket is required" .bucket | quote }}
region = {{ quote .region }}
{{- if .endpoint }}
endpoint = {{ quote .endpoint }}
{{- end }}
{{- if .prefix }}
prefix = {{ quote .prefix }}
{{- end }}
{{- if .existingSecret }}
secret_access_key_file = "/etc/entrepot/s3.secret"
{{- end }}
{{- end }}

[fleet]
secret_file = "/etc/entrepot/fleet.secret"
{{- else }}
driver = "filesystem"
root = "/var/lib/entrepot/registry"

[fleet]
# Made at the first start.
secret_file = "/var/lib/entrepot/fleet.secret"
{{- end }}
{{- if .Values.redis.url }}

[redis]
url = {{ quote .Values.redis.url }}
{{- if .Values.redis.existingSecret }}
password_file = "/etc/entrepot/redis.password"
{{- end }}
{{- end }}

[gc]
schedule = {{ quote .Values.schedules.gc }}
timezone = {{ quote .Values.schedules.timezone }}

[verify]
schedule = {{ quote .Values.schedules.verify }}
{{- if .Values.auth.enabled }}

[auth]
{{- with include "entrepot.realm" . }}
realm = {{ quote . }}
{{- end }}
username = {{ quote .Values.auth.username }}
password_file = "/etc/entrepot/admin.password"
{{- if .Values.auth.htpasswdSecret }}
htpasswd = "/etc/entrepot/htpasswd"
{{- end }}
token = { keys = "storage" }
{{- range .Values.auth.rules }}

[[auth.rule]]
{{- range $key, $value := . }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}

# Who the chart makes.
[[auth.rule]]
who = [{{ printf "user:%s" .Values.auth.username | quote }}]
allow = ["pull", "push", "overwrite", "delete", "catalog", "admin"]
{{- end }}
{{- with .Values.extraConfig }}

{{ tpl . $ | trim }}
{{- end }}

{{ tpl .Values.routes . | trim }}
{{- end }}
