//! What the instances count together. Of each key Redis keeps one number: when all that was counted will have worn off, in
//! microseconds of its own clock, so that nobody else's counts.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::Script;

use super::Redis;
use super::link::Silence;

/// A request waits for its count, so no longer than this even where `command_timeout` is more.
const PATIENCE: Duration = Duration::from_millis(100);

/// Adds `ARGV[1]` to `KEYS[1]` unless that is then more than `ARGV[2]`; both in microseconds. 0, or after how long it would fit. A
/// number that no count can have, as after Redis' clock was set back, is the most that one can have.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local worn = tonumber(redis.call('GET', KEYS[1]) or now) or now
worn = math.min(math.max(worn, now), now + room) + cost
if worn - now > room then
    return math.max(1, math.ceil(worn - now - room))
end
redis.call('SET', KEYS[1], string.format('%.3f', worn), 'PX', math.ceil((worn - now) / 1000) + 1)
return 0",
    )
});

impl Redis {
    pub(in crate::fleet) async fn count(
        &self,
        key: &str,
        cost: Duration,
        room: Duration,
    ) -> Result<Result<(), Duration>, Silence> {
        let live = self.link.live().ok_or_else(|| Silence("down".into()))?;
        let _timer = self.seconds.count.start_timer();
        let mut call = COUNT.key(live.keys.count(key));
        call.arg(microseconds(cost)).arg(microseconds(room));
        let patience = self.command_timeout.min(PATIENCE);
        // Who waits less than others do says nothing of whether those are answered.
        let telling = patience == self.command_timeout;
        let wait: u64 = self.link.run(&live, &call, patience, telling).await?;
        Ok(if wait == 0 { Ok(()) } else { Err(Duration::from_micros(wait)) })
    }
}

/// With the nanoseconds that a high rate is made of.
fn microseconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_told() {
        for (time, text) in [
            (Duration::from_nanos(250), "0.250"),
            (Duration::from_nanos(1_001), "1.001"),
            (Duration::from_secs(3600), "3600000000.000"),
        ] {
            assert_eq!(microseconds(time), text);
        }
    }
}
