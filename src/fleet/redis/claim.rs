//! Claims. The value is a word that nobody else has, and what the holder says of itself.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::{Script, cmd};

use super::link::Silence;
use super::words::{self, RELEASE};
use super::{PATIENCE, Redis, milliseconds};

/// Sets `KEYS[1]` to `ARGV[1]` for `ARGV[2]` milliseconds, unless it is there: then what it is.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local held = redis.call('GET', KEYS[1])
if held then
    return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false",
    )
});

/// Makes `KEYS[1]` last `ARGV[2]` milliseconds from now if it is `ARGV[1]` or is gone; 0 if it is another's.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1",
    )
});

pub(in crate::fleet) enum Claimed {
    Ours(HeldClaim),
    Of(String),
}

/// Given back when dropped.
pub(in crate::fleet) struct HeldClaim {
    key: String,
    value: String,
    redis: Arc<Redis>,
}

impl Redis {
    pub(in crate::fleet) async fn claim(
        self: &Arc<Self>,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> Result<Claimed, Silence> {
        let live = self.link.live().ok_or_else(|| Silence("down".into()))?;
        let value = format!("{} {holder}", words::word());
        // Dropped where no answer comes in time, it takes back what may have been claimed all the same.
        let held = HeldClaim { key: key.to_owned(), value, redis: Arc::clone(self) };
        let mut call = CLAIM.key(live.keys.claim(key));
        call.arg(&held.value).arg(milliseconds(time));
        let timer = self.seconds.claim.start_timer();
        let answer = self.link.run::<Option<String>>(&live, &call, self.command_timeout, true).await;
        drop(timer);
        match answer? {
            None => Ok(Claimed::Ours(held)),
            Some(other) => {
                held.keep();
                let (_, holder) =
                    other.split_once(' ').ok_or_else(|| Silence("a claim that is none of ours".into()))?;
                Ok(Claimed::Of(holder.to_owned()))
            }
        }
    }
}

impl HeldClaim {
    pub(in crate::fleet) async fn renew(&self, time: Duration) -> bool {
        // The run of the server may be another one by now, in which it was never claimed.
        let Some(live) = self.redis.link.live() else { return true };
        let mut call = RENEW.key(live.keys.claim(&self.key));
        call.arg(&self.value).arg(milliseconds(time));
        let _timer = self.redis.seconds.renew.start_timer();
        let answer = self.redis.link.run::<i64>(&live, &call, self.redis.command_timeout, true).await;
        answer.map_or(true, |held| held != 0)
    }

    /// There is nothing to give back.
    fn keep(mut self) {
        self.value.clear();
    }
}

impl Drop for HeldClaim {
    /// Best effort: otherwise it ends with its time.
    fn drop(&mut self) {
        if self.value.is_empty() {
            return;
        }
        let (Ok(runtime), Some(live)) = (tokio::runtime::Handle::try_current(), self.redis.link.live()) else { return };
        let mut command = cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(live.keys.claim(&self.key)).arg(&self.value);
        let link = Arc::clone(&self.redis.link);
        runtime.spawn(async move { link.ask::<i64>(&live, &command, PATIENCE).await });
    }
}

impl fmt::Debug for HeldClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldClaim").field("key", &self.key).finish_non_exhaustive()
    }
}
