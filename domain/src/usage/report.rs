//! Calls over time: how many, how they ended, how long they took; by minute, hour or day, split by one property.
//!
//! Everything comes from the rollups, which are written in one transaction with the request log: over whole buckets
//! the two say the same.

use chrono::{DateTime, DurationRound, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::{
    error::FieldError,
    ids::KeyId,
    time::{self, Time},
};

/// Most groups that have buckets of their own; the rest is summed up in one more.
pub const GROUPS_MAX: usize = 10;

/// The length of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    Minute,
    Hour,
    Day,
}

impl Grain {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grain| grain.as_str() == text)
    }

    pub fn length(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
        }
    }

    /// The longest span of one report: 360, 744 or 366 buckets.
    pub fn longest(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::hours(6),
            Self::Hour => TimeDelta::days(31),
            Self::Day => TimeDelta::days(366),
        }
    }

    /// The span of a report that does not say: an hour, a day, thirty days.
    pub fn usual(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::hours(1),
            Self::Hour => TimeDelta::hours(24),
            Self::Day => TimeDelta::days(30),
        }
    }

    /// Days that buckets of this length are surely there; housekeeping keeps them a little longer.
    pub fn kept_days(self) -> i64 {
        match self {
            Self::Minute => 7,
            Self::Hour => 90,
            Self::Day => 730,
        }
    }

    /// The longest span in words.
    pub fn longest_in_words(self) -> &'static str {
        match self {
            Self::Minute => "6 hours",
            Self::Hour => "31 days",
            Self::Day => "366 days",
        }
    }

    fn floor(self, at: Time) -> Time {
        at.duration_trunc(self.length()).unwrap_or(at)
    }

    fn ceil(self, at: Time) -> Time {
        let floor = self.floor(at);
        if floor == at { at } else { floor + self.length() }
    }
}

/// By what the calls are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    Key,
    Endpoint,
    /// The HTTP status.
    Status,
    /// `allowed`, or the code of the denial.
    Outcome,
}

impl GroupBy {
    pub const ALL: [Self; 4] = [Self::Key, Self::Endpoint, Self::Status, Self::Outcome];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Endpoint => "endpoint",
            Self::Status => "status",
            Self::Outcome => "outcome",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

/// A span of whole buckets: from inclusive, to exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Time,
    pub to: Time,
    pub grain: Grain,
}

impl Span {
    /// The buckets that the asked times lie in. Without `to` the report ends now, without `from` it is as long as
    /// usual.
    ///
    /// # Errors
    /// Sentences for the fields `from` and `to`.
    pub fn new(grain: Grain, from: Option<Time>, to: Option<Time>, now: Time) -> Result<Self, FieldError> {
        let end = to.unwrap_or(now);
        let begin = match from {
            Some(from) => from,
            // A year near the calendar's end or beginning has no usual span before it.
            None => end.checked_sub_signed(grain.usual()).unwrap_or(end),
        };
        if begin >= end {
            return Err(FieldError::new(
                "from",
                "The beginning must lie before the end, which is now unless you say so.",
            ));
        }
        if end - begin > grain.longest() {
            return Err(FieldError::new(
                "from",
                format!("By the {}, a report spans at most {}.", grain.as_str(), grain.longest_in_words()),
            ));
        }
        if end > now + TimeDelta::days(1) {
            return Err(FieldError::new("to", "The end lies in the future."));
        }
        let oldest = now - TimeDelta::days(grain.kept_days());
        if begin < oldest {
            return Err(FieldError::new(
                "from",
                format!(
                    "By the {}, figures are kept for {} days: begin at {} or later.",
                    grain.as_str(),
                    grain.kept_days(),
                    time::exact(oldest)
                ),
            ));
        }
        Ok(Self { from: grain.floor(begin), to: grain.ceil(end), grain })
    }

    /// The beginnings of its buckets.
    pub fn buckets(self) -> impl Iterator<Item = Time> {
        let count = (self.to - self.from).num_seconds() / self.grain.length().num_seconds();
        (0..count).filter_map(move |n| {
            DateTime::from_timestamp(self.from.timestamp() + n * self.grain.length().num_seconds(), 0)
        })
    }
}

/// Figures of some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// All calls with a key of the organization.
    pub requests: i64,
    /// Let through by the gate.
    pub allowed: i64,
    /// Answered with 400 or above, denied ones included.
    pub errors: i64,
    /// The sum of all latencies in microseconds.
    pub latency_us: i64,
}

impl Sums {
    /// Refused by the gate.
    pub fn denied(self) -> i64 {
        self.requests - self.allowed
    }

    /// Mean latency in milliseconds; `None` without calls.
    pub fn mean_latency_ms(self) -> Option<f64> {
        // Whole microseconds: more digits than that nobody measured.
        (self.requests > 0).then(|| ((self.latency_us as f64 / self.requests as f64).round()) / 1_000.0)
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.allowed += more.allowed;
        self.errors += more.errors;
        self.latency_us += more.latency_us;
    }
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The value of the split; `None`: everything that has no line of its own.
    pub value: Option<String>,
    /// The key's name, when it is split by key.
    pub name: Option<String>,
    pub total: Sums,
    /// One for each bucket of the span.
    pub buckets: Vec<Sums>,
}

/// A report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub span: Span,
    pub total: Sums,
    pub buckets: Vec<Sums>,
    /// With a split: the largest groups first, and what is left. They add up to the total.
    pub groups: Vec<Series>,
}

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub span: Span,
    pub group_by: Option<GroupBy>,
    /// One key only.
    pub key: Option<KeyId>,
}

#[cfg(feature = "postgres")]
pub use store::report;

#[cfg(feature = "postgres")]
mod store {
    use std::collections::HashMap;

    use sqlx::{Postgres, QueryBuilder};
    use uuid::Uuid;

    use super::{GROUPS_MAX, GroupBy, Question, Report, Series, Sums};
    use crate::{
        Db,
        error::Result,
        ids::{KeyId, OrgId},
        time::Time,
    };

    #[derive(sqlx::FromRow)]
    struct Row {
        value: String,
        bucket: Time,
        requests: i64,
        allowed: i64,
        errors: i64,
        latency_us: i64,
    }

    /// The report of an organization.
    pub async fn report(db: &Db, organization: OrgId, question: &Question) -> Result<Report> {
        let Question { span, group_by, key } = *question;
        let value = match group_by {
            None => "''",
            Some(GroupBy::Key) => "key_id::text",
            Some(GroupBy::Endpoint) => "endpoint",
            Some(GroupBy::Status) => "status::text",
            Some(GroupBy::Outcome) => "outcome",
        };
        let mut query = QueryBuilder::<Postgres>::new("select ");
        query.push(value).push(
            " as value, bucket, sum(calls)::bigint as requests,
              coalesce(sum(calls) filter (where outcome = 'allowed'), 0)::bigint as allowed,
              coalesce(sum(calls) filter (where status >= 400), 0)::bigint as errors,
              sum(latency_us)::bigint as latency_us
             from usage_rollups where organization_id = ",
        );
        query.push_bind(organization.0).push(" and grain = ").push_bind(span.grain.as_str());
        query.push(" and bucket >= ").push_bind(span.from).push(" and bucket < ").push_bind(span.to);
        if let Some(key) = key {
            query.push(" and key_id = ").push_bind(key.0);
        }
        query.push(" group by 1, 2");
        let mut tx = db.tenant(organization).await?;
        let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *tx).await?;

        let places: HashMap<Time, usize> = span.buckets().enumerate().map(|(at, bucket)| (bucket, at)).collect();
        let line =
            |value| Series { value, name: None, total: Sums::default(), buckets: vec![Sums::default(); places.len()] };
        let mut whole = line(None);
        let mut groups: HashMap<String, Series> = HashMap::new();
        for row in rows {
            let Some(at) = places.get(&row.bucket).copied() else { continue };
            let sums =
                Sums { requests: row.requests, allowed: row.allowed, errors: row.errors, latency_us: row.latency_us };
            whole.total += sums;
            whole.buckets[at] += sums;
            if group_by.is_some() {
                let group = groups.entry(row.value).or_insert_with_key(|value| line(Some(value.clone())));
                group.total += sums;
                group.buckets[at] += sums;
            }
        }
        let mut groups: Vec<Series> = groups.into_values().collect();
        groups.sort_by(|a, b| b.total.requests.cmp(&a.total.requests).then_with(|| a.value.cmp(&b.value)));
        if groups.len() > GROUPS_MAX {
            let mut rest = line(None);
            for group in groups.drain(GROUPS_MAX..) {
                rest.total += group.total;
                for (sum, more) in rest.buckets.iter_mut().zip(group.buckets) {
                    *sum += more;
                }
            }
            groups.push(rest);
        }
        if group_by == Some(GroupBy::Key) {
            name_keys(&mut tx, organization, &mut groups).await?;
        }
        Ok(Report { span, total: whole.total, buckets: whole.buckets, groups })
    }

    /// Ids as people see them, and the names of the keys.
    async fn name_keys(tx: &mut sqlx::PgConnection, organization: OrgId, groups: &mut [Series]) -> Result<()> {
        let id = |group: &Series| group.value.as_deref().and_then(|text| text.parse::<Uuid>().ok());
        let ids: Vec<Uuid> = groups.iter().filter_map(id).collect();
        let names: HashMap<Uuid, String> = sqlx::query!(
            "select id, name from api_keys where organization_id = $1 and id = any($2)",
            organization.0,
            &ids
        )
        .fetch_all(tx)
        .await?
        .into_iter()
        .map(|row| (row.id, row.name))
        .collect();
        for group in groups {
            let Some(id) = id(group) else { continue };
            group.name = names.get(&id).cloned();
            group.value = Some(KeyId(id).to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};
    use proptest::prelude::*;

    fn now() -> Time {
        Utc.with_ymd_and_hms(2026, 11, 20, 12, 34, 56).unwrap()
    }

    #[test]
    fn a_span_covers_whole_buckets() {
        let span = Span::new(Grain::Hour, None, None, now()).unwrap();
        assert_eq!(span.from, Utc.with_ymd_and_hms(2026, 11, 19, 12, 0, 0).unwrap());
        assert_eq!(span.to, Utc.with_ymd_and_hms(2026, 11, 20, 13, 0, 0).unwrap());
        assert_eq!(span.buckets().count(), 25);
        let at = |h, m, s| Utc.with_ymd_and_hms(2026, 11, 20, h, m, s).unwrap();
        let exact = Span::new(Grain::Minute, Some(at(10, 0, 0)), Some(at(10, 2, 0)), now()).unwrap();
        assert_eq!(exact.buckets().collect::<Vec<_>>(), [at(10, 0, 0), at(10, 1, 0)]);
        let day = Span::new(Grain::Day, Some(at(10, 0, 0)), Some(at(10, 0, 1)), now()).unwrap();
        assert_eq!(day.buckets().collect::<Vec<_>>(), [at(0, 0, 0)]);
    }

    #[test]
    fn what_cannot_be_answered_is_said() {
        let hours = |n| Some(now() - TimeDelta::hours(n));
        for (grain, from, to, field) in [
            (Grain::Minute, hours(7), None, "from"),
            (Grain::Hour, hours(32 * 24), None, "from"),
            (Grain::Day, hours(367 * 24), None, "from"),
            (Grain::Hour, hours(1), hours(1), "from"),
            (Grain::Hour, hours(1), hours(2), "from"),
            (Grain::Hour, hours(-1), None, "from"),
            (Grain::Minute, hours(24 * 8), hours(24 * 8 - 1), "from"),
            (Grain::Hour, hours(1), hours(-100), "to"),
            (Grain::Day, None, Some(DateTime::<chrono::Utc>::MIN_UTC), "from"),
            (Grain::Day, None, Some(DateTime::<chrono::Utc>::MAX_UTC), "to"),
        ] {
            let error = Span::new(grain, from, to, now()).expect_err("refused");
            assert_eq!(error.field, field, "{grain:?} {from:?} {to:?}: {}", error.message);
        }
    }

    proptest! {
        /// Every moment asked for lies in exactly one bucket, and there are never more than a thousand.
        #[test]
        fn buckets_are_whole_and_few(grain in 0usize..3, begin in 0i64..31_000_000, length in 1i64..32_000_000) {
            let grain = Grain::ALL[grain];
            let from = now() - TimeDelta::seconds(begin);
            if let Ok(span) = Span::new(grain, Some(from), Some(from + TimeDelta::seconds(length)), now()) {
                let buckets: Vec<_> = span.buckets().collect();
                prop_assert!(!buckets.is_empty() && buckets.len() <= 1_000);
                prop_assert!(buckets[0] <= from && from < buckets[0] + grain.length());
                prop_assert!(buckets.windows(2).all(|pair| pair[1] - pair[0] == grain.length()));
                let end = *buckets.last().unwrap() + grain.length();
                prop_assert_eq!(end, span.to);
                prop_assert!(end >= from + TimeDelta::seconds(length) && end - grain.length() < from + TimeDelta::seconds(length));
            }
        }
    }

    #[test]
    fn means_need_calls() {
        assert_eq!(Sums::default().mean_latency_ms(), None);
        let sums = Sums { requests: 3, allowed: 2, errors: 1, latency_us: 1_000 };
        assert_eq!((sums.mean_latency_ms(), sums.denied()), (Some(0.333), 1));
    }
}
