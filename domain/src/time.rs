//! Times for people. All times are UTC; the browser adds the local one on hover.

use chrono::{DateTime, Datelike, Utc};

pub type Time = DateTime<Utc>;

/// "just now", "2 min ago", "3 h ago", "yesterday", "12 days ago", "3 May", "3 May 2025"; the future reads "in 2 min".
pub fn relative(at: Time, now: Time) -> String {
    let seconds = (now - at).num_seconds();
    let (past, s) = (seconds >= 0, seconds.abs());
    let text = match s {
        0..=4 => return "just now".into(),
        5..=59 => format!("{s} s"),
        60..=3_599 => format!("{} min", s / 60),
        3_600..=86_399 => format!("{} h", s / 3_600),
        86_400..=172_799 => return if past { "yesterday".into() } else { "tomorrow".into() },
        172_800..=2_591_999 => format!("{} days", s / 86_400),
        _ => return date(at, now),
    };
    if past { format!("{text} ago") } else { format!("in {text}") }
}

/// "3 May", with the year when it is not this one.
pub fn date(at: Time, now: Time) -> String {
    let format = if at.year() == now.year() { "%-d %B" } else { "%-d %B %Y" };
    at.format(format).to_string()
}

/// "2026-11-20 21:43:07 UTC"
pub fn exact(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// "4.2 s", "1 min", "2 min 30 s", from milliseconds.
pub fn duration_ms(ms: u64) -> String {
    match ms {
        0..60_000 if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        0..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ if (ms / 1000).is_multiple_of(60) => format!("{} min", ms / 60_000),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Duration, TimeZone};

    #[test]
    fn reads_like_a_person_would_say_it() {
        let now = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap();
        let ago = |s| relative(now - Duration::seconds(s), now);
        assert_eq!(ago(0), "just now");
        assert_eq!(ago(42), "42 s ago");
        assert_eq!(ago(125), "2 min ago");
        assert_eq!(ago(-125), "in 2 min");
        assert_eq!(ago(90_000), "yesterday");
        assert_eq!(ago(86_400 * 12), "12 days ago");
        assert_eq!(ago(86_400 * 40), "11 October");
        assert_eq!(ago(86_400 * 400), "16 October 2025");
        assert_eq!(duration_ms(4_200), "4.2 s");
        assert_eq!(duration_ms(150_000), "2 min 30 s");
    }
}
