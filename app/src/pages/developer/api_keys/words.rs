//! The list in words. Server only.

use domain::{
    keys::{ApiKey, ApiKeyRow, Environment, KeyList, scope::group_label},
    throttle::ThrottleMode,
    time::{self, Time},
};

use super::{
    context::{count, counted},
    data::{ListPage, Row},
};
use crate::components::Moment;

/// The page of the list; the rest is the caller's.
pub fn list_page(list: KeyList, now: Time) -> ListPage {
    let expiring = list
        .expiring
        .into_iter()
        .map(|(id, name, at)| (id, name, format!("{}, on {}", time::relative(at, now), time::date(at, now))))
        .collect();
    ListPage {
        rows: list.rows.into_iter().map(|it| row(it, now)).collect(),
        total: list.total,
        first_number: list.first_number,
        previous: list.previous,
        next: list.next,
        creators: list.creators,
        expiring,
        none_yet: list.none_yet,
        may_manage: false,
        public_url: String::new(),
        problem: None,
    }
}

fn row(row: ApiKeyRow, now: Time) -> Row {
    let key = row.key;
    Row {
        id: key.id,
        group: group_label(key.scope_group.as_deref(), key.scopes).to_owned(),
        scopes: key.scopes.iter().map(|scope| (scope.label().to_owned(), scope.as_str().to_owned())).collect(),
        limits: limits(&key, now),
        test: key.environment == Environment::Test,
        revoked: key.revoked_at.is_some(),
        disabled: key.disabled_at.is_some(),
        last_use: key.last_use.map(|used| (Moment::relative(used.at, now), used.origin())),
        created: Moment::relative(key.created_at, now),
        created_by: key.created_by_name,
        name: key.name,
        description: key.description,
        hint: key.hint,
        status: row.status,
        hours: row.hours,
    }
}

fn limits(key: &ApiKey, now: Time) -> Vec<(String, Option<String>)> {
    let mut lines: Vec<(String, Option<String>)> = vec![];
    if let Some(limit) = key.rate_limit {
        lines.push((format!("{}/h", count(limit)), None));
    }
    if key.throttle.mode != ThrottleMode::Off {
        let word = match key.throttle.mode {
            ThrottleMode::Off => "Off",
            ThrottleMode::Fixed { .. } => "Fixed delay",
            ThrottleMode::Random { .. } => "Random delay",
            ThrottleMode::Smart { .. } => "Smart delay",
        };
        let full =
            format!("{}; at most {} messages waiting", key.throttle.mode.sentence(), count(key.throttle.max_queue));
        lines.push((word.to_owned(), Some(full)));
    }
    match key.allowed_ips.as_slice() {
        [] => {}
        nets => {
            let shown: Vec<_> = nets.iter().take(12).map(domain::keys::form::show_net).collect();
            let more = nets.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let n = i64::try_from(nets.len()).unwrap_or(i64::MAX);
            lines.push((counted(n, "IP", "IPs"), Some(format!("{}{more}", shown.join(", ")))));
        }
    }
    if let Some(at) = key.expires_at {
        let verb = if at <= now { "ended" } else { "ends" };
        lines.push((format!("{verb} {}", at.format("%-d %b %Y")), Some(time::exact(at))));
    }
    lines
}
