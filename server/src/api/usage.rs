//! `GET /usage`: the organization's calls over time.

use axum::extract::State;
use chrono::Utc;
use domain::{
    ids::KeyId,
    time::Time,
    usage::report::{self, Grain, GroupBy, Question, Report, Span, Sums},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{Authorized, ReadUsage},
    list::Query,
    problem::{Problem, Result},
};
use crate::state::AppState;

/// The query, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(super) struct UsageQuery {
    /// Beginning (RFC 3339); the whole bucket that it lies in counts. Without it, an hour before the end by the minute,
    /// a day by the hour, thirty days by the day. By the minute figures are kept for 7 days, by the hour for 90, by the
    /// day for 730.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// End; the whole bucket that it lies in counts, a full minute, hour or day ends before it. Without it, now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    /// Length of a bucket. A report spans at most 6 hours by the minute, 31 days by the hour, 366 days by the day.
    #[param(inline, default = "hour")]
    granularity: Option<Granularity>,
    /// Split the figures by this.
    #[param(inline)]
    group_by: Option<GroupByName>,
    /// Calls with this key only.
    #[param(value_type = Option<String>, pattern = "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "key_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    key_id: Option<KeyId>,
}

#[derive(ToSchema)]
#[schema(as = Granularity, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::usage::report::Grain, which knows nothing of this document")]
pub(super) enum Granularity {
    Minute,
    Hour,
    Day,
}

#[derive(ToSchema)]
#[schema(as = GroupBy, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::usage::report::GroupBy, which knows nothing of this document")]
pub(super) enum GroupByName {
    Key,
    Endpoint,
    Status,
    Outcome,
}

/// Calls over time. Figures arrive within about two seconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    /// Beginning of the first bucket.
    #[schema(value_type = String, format = DateTime)]
    from: Time,
    /// End of the last bucket.
    #[schema(value_type = String, format = DateTime)]
    to: Time,
    #[schema(value_type = Granularity)]
    granularity: Grain,
    #[schema(value_type = Option<GroupByName>, required)]
    group_by: Option<GroupBy>,
    totals: Figures,
    /// One for each minute, hour or day, empty ones included, oldest first.
    #[schema(min_items = 1, max_items = 1000)]
    buckets: Vec<Bucket>,
    /// With `groupBy`: the ten groups with most calls and, when there are more, one for all others with `value` null.
    /// They add up to the totals.
    #[schema(max_items = 11)]
    groups: Vec<Group>,
}

/// Figures of some calls.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    /// Calls with a key of the organization.
    #[schema(minimum = 0, example = 1204)]
    requests: i64,
    /// Let through.
    #[schema(minimum = 0, example = 1200)]
    allowed: i64,
    /// Refused: no scope, wrong address, hour used up and the like.
    #[schema(minimum = 0, example = 4)]
    denied: i64,
    /// Answered with a status of 400 or above, refused ones included.
    #[schema(minimum = 0, example = 7)]
    errors: i64,
    /// Mean time to answer in milliseconds; null without calls.
    #[schema(minimum = 0, example = 1.25, required)]
    mean_latency_ms: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UsageBucket)]
struct Bucket {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UsageGroup)]
struct Group {
    /// A key's id, a route, a status or an outcome (`allowed`, or why a call was refused).
    #[schema(required, example = "/api/v1/messages/send")]
    value: Option<String>,
    /// The key's name, with `groupBy=key`.
    #[schema(required, example = "Shop plugin")]
    name: Option<String>,
    totals: Figures,
    /// As those of the whole.
    #[schema(min_items = 1, max_items = 1000)]
    buckets: Vec<Bucket>,
}

impl From<Sums> for Figures {
    fn from(sums: Sums) -> Self {
        Self {
            requests: sums.requests,
            allowed: sums.allowed,
            denied: sums.denied(),
            errors: sums.errors,
            mean_latency_ms: sums.mean_latency_ms(),
        }
    }
}

fn buckets(span: Span, sums: Vec<Sums>) -> Vec<Bucket> {
    span.buckets().zip(sums).map(|(at, sums)| Bucket { at, figures: sums.into() }).collect()
}

impl Usage {
    fn new(report: Report, group_by: Option<GroupBy>) -> Self {
        let span = report.span;
        let groups = report.groups.into_iter().map(|group| Group {
            value: group.value,
            name: group.name,
            totals: group.total.into(),
            buckets: buckets(span, group.buckets),
        });
        Self {
            from: span.from,
            to: span.to,
            granularity: span.grain,
            group_by,
            totals: report.total.into(),
            buckets: buckets(span, report.buckets),
            groups: groups.collect(),
        }
    }
}

/// Calls over time
///
/// How many calls were made with the organization's keys, how they ended and how long they took, as the request log
/// has them.
#[utoipa::path(
    get,
    path = "/usage",
    tag = "Usage",
    operation_id = "getUsage",
    security(("bearerAuth" = ["usage:read"]), ("apiKeyAuth" = ["usage:read"])),
    params(UsageQuery),
    responses((status = 200, description = "The figures", body = Usage)),
)]
pub(super) async fn get(
    caller: Authorized<ReadUsage>,
    State(state): State<AppState>,
    mut query: Query,
) -> Result<axum::Json<Usage>> {
    let (from, to) = (query.optional_time("from"), query.optional_time("to"));
    let grain = query.optional_choice("granularity", &["minute", "hour", "day"], Grain::parse).unwrap_or(Grain::Hour);
    let group_by = query.optional_choice("groupBy", &["key", "endpoint", "status", "outcome"], GroupBy::parse);
    let key = query.optional_id::<KeyId>("keyId");
    query.finish()?;
    let span = Span::new(grain, from, to, Utc::now()).map_err(|error| Problem::invalid(vec![error]))?;
    let question = Question { span, group_by, key };
    let report = report::report(&state.db, caller.key().organization_id, &question).await?;
    Ok(axum::Json(Usage::new(report, group_by)))
}
