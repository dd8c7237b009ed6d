-- Each request pushes another small manifest by a tag of its own, in one of $BENCH_REPOSITORIES repositories in turn.
-- $BENCH_MANIFEST is a pattern with one %s; $BENCH_RUN makes this run's manifests and tags unlike all others'.
local folder = debug.getinfo(1, "S").source:sub(2):match("(.*/)") or "./"
dofile(folder .. "report.lua")

local pattern, run = os.getenv("BENCH_MANIFEST"), os.getenv("BENCH_RUN")
local repositories = tonumber(os.getenv("BENCH_REPOSITORIES"))
local headers = { ["Content-Type"] = os.getenv("BENCH_TYPE") }
local count = 0

function request()
  count = count + 1
  local tag = run .. "-" .. count
  return wrk.format("PUT", "/v2/bench/r" .. count % repositories .. "/manifests/" .. tag, headers, pattern:format(tag))
end
