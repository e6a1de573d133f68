-- Load for HTTP ingest: POSTs of `EVENTS` events each (1: one JSON object; more: NDJSON). Each thread makes its bodies
-- before it begins and sends them in turn, so that making them costs nothing; rows are written again after the first round.
--   EVENTS=100 wrk -t2 -c64 -d20s --latency -s benches/http/events.lua http://127.0.0.1:7402
local events = tonumber(os.getenv("EVENTS") or "1")
local devices = tonumber(os.getenv("DEVICES") or "2000")
local bodies = math.max(100, math.floor(20000 / events))
local counter = 0

function setup(thread)
    counter = counter + 1
    thread:set("thread_number", counter)
end

function init()
    -- So that two runs, and two threads of one, make different rows.
    local time = os.time() * 1000 + thread_number
    local format = '{"device_id":"app-%06d","event_time":%d,"sequence":%d,"latitude":48.1371079,'
        .. '"longitude":11.5753822,"altitude":519.5,"speed":83.4,"heading":271.3,"hdop":1.2,"satellites":11,'
        .. '"fix":"rtk","ignition":true,"fix_time":%d,"odometer":123456789}'
    local kind = events == 1 and "application/json" or "application/x-ndjson"
    local sequence = 0
    requests = {}
    for number = 1, bodies do
        local lines = {}
        for line = 1, events do
            sequence = sequence + 1
            lines[line] = format:format(sequence % devices, time, sequence, time)
        end
        requests[number] = wrk.format("POST", "/v1/events/position", { ["Content-Type"] = kind },
            table.concat(lines, "\n"))
    end
    next_request = 0
end

function request()
    next_request = next_request % bodies + 1
    return requests[next_request]
end

function done(summary, latency)
    local seconds = summary.duration / 1e6
    print(string.format("requests/s %.0f  events/s %.0f  p50 %.2f ms  p99 %.2f ms  not 2xx %d",
        summary.requests / seconds, summary.requests * events / seconds,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status))
end
