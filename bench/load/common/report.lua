-- Prints wrk's counts exactly, for generators.py. Only `done` is defined, so that it costs nothing while the load runs.
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format(
    'summary {"requests":%d,"bytes":%d,"microseconds":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}',
    summary.requests, summary.bytes, summary.duration, e.connect, e.read, e.write, e.status, e.timeout))
end
