//! What clients are told of quotas.

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::account::Lacking;
use super::amount::Amount;

/// From so much of the limit on, clients are warned: nine tenths.
const NEAR: (u64, u64) = (9, 10);

/// The sentence of a refusal, and its numbers for programs.
pub(super) fn refusal(pattern: &str, lacking: &Lacking) -> (String, Value) {
    let Lacking { used, reserved, limit, needed, .. } = lacking;
    let detail = json!({
        "quota": pattern,
        "used": shown(*used),
        "reserved": shown(*reserved),
        "limit": {"bytes": bounded(limit.bytes), "tags": bounded(limit.tags)},
        "needed": shown(*needed),
    });
    let tags = |amount: &Amount| amount.tags;
    let by_tags =
        needed.tags > 0 && tags(used).saturating_add(tags(reserved)).saturating_add(tags(needed)) > limit.tags;
    let what = match by_tags {
        true => {
            let pushed =
                if reserved.tags > 0 { format!(", {} are being pushed", reserved.tags) } else { String::new() };
            format!("has {} of {} tags{pushed}, and this needs {} more", used.tags, limit.tags, needed.tags)
        }
        false => {
            let pushed = match reserved.bytes {
                0 => String::new(),
                bytes => format!(", {} are being pushed", size(bytes)),
            };
            let more =
                if needed.bytes > 0 { format!(", and this needs {} more", size(needed.bytes)) } else { String::new() };
            format!("is used up: {} of {} are used{pushed}{more}", size(used.bytes), size(limit.bytes))
        }
    };
    (format!("the quota of '{pattern}' {what}"), detail)
}

/// The value of a field `Warning`, as the distribution specification has it.
pub(super) fn warning(pattern: &str, used: Amount, limit: Amount) -> Option<String> {
    let near = |used: u64, limit: u64| {
        limit != u64::MAX && u128::from(used) * u128::from(NEAR.1) >= u128::from(limit) * u128::from(NEAR.0)
    };
    let what = match (near(used.bytes, limit.bytes), near(used.tags, limit.tags)) {
        (true, _) => format!("{} of {} are used", size(used.bytes), size(limit.bytes)),
        (false, true) => format!("{} of {} tags are used", used.tags, limit.tags),
        (false, false) => return None,
    };
    let text: String = format!("the quota of '{pattern}' is nearly used up: {what}")
        .chars()
        .map(|c| if c == '"' || c == '\\' || c.is_control() { '?' } else { c })
        .collect();
    Some(format!("299 - \"{text}\""))
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn shown(amount: Amount) -> Value {
    json!({"bytes": amount.bytes, "tags": amount.tags})
}

/// `null`: as much as there can be.
fn bounded(limit: u64) -> Value {
    if limit == u64::MAX { Value::Null } else { limit.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn lacking(used: Amount, reserved: Amount, limit: Amount, needed: Amount) -> Lacking {
        Lacking { used, reserved, limit, needed, certain: true }
    }

    #[test]
    fn a_refusal_says_how_much_is_used_and_how_much_there_may_be() {
        let (bytes, tags) = (Amount::bytes, |tags| Amount { bytes: 0, tags });
        let limit = Amount { bytes: 10 * GIB, tags: 5000 };
        let (text, detail) = refusal("a/**", &lacking(bytes(9 * GIB), bytes(GIB / 2), limit, bytes(GIB)));
        let expected = "the quota of 'a/**' is used up: 9.0 GiB of 10.0 GiB are used, 512.0 MiB are being pushed, \
                        and this needs 1.0 GiB more";
        assert_eq!(text, expected);
        assert_eq!((&detail["used"]["bytes"], &detail["limit"]["tags"]), (&json!(9 * GIB), &json!(5000)));
        let limit = Amount { bytes: u64::MAX, tags: 5000 };
        let (text, detail) = refusal("a", &lacking(tags(4999), tags(0), limit, Amount { bytes: 7, tags: 2 }));
        assert_eq!(text, "the quota of 'a' has 4999 of 5000 tags, and this needs 2 more");
        assert_eq!(detail["limit"]["bytes"], Value::Null);
        let limit = Amount { bytes: GIB, tags: u64::MAX };
        let (text, _) = refusal("a", &lacking(bytes(GIB), bytes(0), limit, bytes(0)));
        assert_eq!(text, "the quota of 'a' is used up: 1.0 GiB of 1.0 GiB are used");
    }

    #[test]
    fn clients_are_warned_from_nine_tenths_on() {
        let limit = Amount { bytes: 1000, tags: 10 };
        assert_eq!(warning("a", Amount { bytes: 899, tags: 8 }, limit), None);
        assert!(
            warning("a", Amount { bytes: 900, tags: 0 }, limit)
                .unwrap()
                .starts_with("299 - \"the quota of 'a' is nearly")
        );
        assert!(warning("a", Amount { bytes: 0, tags: 9 }, limit).unwrap().contains("9 of 10 tags"));
        let unlimited = Amount { bytes: u64::MAX, tags: u64::MAX };
        assert_eq!(warning("a", Amount { bytes: u64::MAX, tags: u64::MAX }, unlimited), None);
        let odd = warning("a\"\\{b}", Amount { bytes: 900, tags: 0 }, limit).unwrap();
        assert_eq!(odd.matches('"').count(), 2, "{odd}");
    }
}
