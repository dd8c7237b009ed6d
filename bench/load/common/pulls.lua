-- Each connection's requests are those of a pull, one after the other: the paths in the file named by $BENCH_PATHS.
-- wrk asks for requests of all connections in turn, so a pull is spread over them; what is counted are whole pulls all the same.
local folder = debug.getinfo(1, "S").source:sub(2):match("(.*/)") or "./"
dofile(folder .. "report.lua")

local requests, at = {}, 0

function init(args)
  wrk.headers["Accept"] = os.getenv("BENCH_ACCEPT")
  for path in io.lines(os.getenv("BENCH_PATHS")) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
