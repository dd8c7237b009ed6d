-- Each request asks for one of the paths in the file named by $BENCH_PATHS, chosen at random with a fixed seed.
-- The requests are made before the load begins; one table look-up is left for each of them. $BENCH_ACCEPT: their Accept.
local folder = debug.getinfo(1, "S").source:sub(2):match("(.*/)") or "./"
dofile(folder .. "report.lua")

local requests = {}

function init(args)
  math.randomseed(1)
  wrk.headers["Accept"] = os.getenv("BENCH_ACCEPT")
  for path in io.lines(os.getenv("BENCH_PATHS")) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  return requests[math.random(#requests)]
end
