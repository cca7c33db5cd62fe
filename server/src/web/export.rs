//! The list of keys as a CSV file (RFC 4180), with the same filters as the page.

use app::pages::developer::api_keys::query::KeysQuery;
use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, Utc};
use domain::{
    ids::KeyId,
    keys::{ApiKeyRow, store},
    time::Time,
};
use futures::{StreamExt, stream};
use http::{StatusCode, header};
use tower_sessions::Session;

use super::{failure, guard};
use crate::state::AppState;

const COLUMNS: [&str; 16] = [
    "id",
    "name",
    "description",
    "environment",
    "hint",
    "status",
    "scopes",
    "rate_limit_per_hour",
    "allowed_ips",
    "throttle",
    "expires_at",
    "created_at",
    "created_by",
    "last_used_at",
    "last_used_ip",
    "last_used_user_agent",
];

/// `GET /dashboard/developer/api-keys/export.csv`
pub async fn keys(State(state): State<AppState>, session: Session, RawQuery(query): RawQuery) -> Response {
    let viewer = match guard::viewer(&state, &session).await {
        Ok(Some(viewer)) => viewer,
        Ok(None) => return StatusCode::UNAUTHORIZED.into_response(),
        Err(_) => return failure::database_away(),
    };
    let filter = KeysQuery::parse(&query.unwrap_or_default()).to_filter();
    let now = Utc::now();
    let ids = match store::matching(&state.db, viewer.organization_id, &filter, now).await {
        Ok(ids) => ids,
        Err(domain::Error::Unavailable) => return failure::database_away(),
        Err(error) => {
            tracing::error!(%error, "the export failed");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    // The mark tells spreadsheets that this is UTF-8; without it they guess, and spoil names.
    let mut head = String::from("\u{feff}");
    line(&mut head, COLUMNS);
    let pieces: Vec<Vec<KeyId>> = ids.chunks(store::ROWS_AT_ONCE).map(<[KeyId]>::to_vec).collect();
    let lines = stream::iter(pieces).then(move |ids| {
        let (db, organization) = (state.db.clone(), viewer.organization_id);
        async move {
            let rows = store::rows(&db, organization, &ids, now).await;
            // The connection breaks: the browser tells that the file is not whole.
            rows.map(|rows| csv(&rows)).inspect_err(|error| tracing::error!(%error, "the export broke off"))
        }
    });
    let body = Body::from_stream(stream::once(async { Ok(head) }).chain(lines));
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"api-keys-{}.csv\"", now.date_naive())),
    ];
    (headers, body).into_response()
}

fn csv(rows: &[ApiKeyRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let key = &row.key;
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let ips: Vec<String> = key.allowed_ips.iter().map(ToString::to_string).collect();
        let used = key.last_use.as_ref();
        line(
            &mut text,
            [
                &*key.id.to_string(),
                &key.name,
                &key.description,
                key.environment.as_str(),
                &key.hint,
                &row.status.label,
                &scopes.join(" "),
                &key.rate_limit.map(|limit| limit.to_string()).unwrap_or_default(),
                &ips.join(" "),
                &key.throttle.mode.sentence(),
                &key.expires_at.map(instant).unwrap_or_default(),
                &instant(key.created_at),
                &key.created_by_name,
                &used.map(|used| instant(used.at)).unwrap_or_default(),
                &used.and_then(|used| used.ip).map(|ip| ip.to_string()).unwrap_or_default(),
                used.map_or("", |used| &used.user_agent),
            ],
        );
    }
    text
}

fn instant(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn line<'a>(text: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_field(text, field);
    }
    text.push_str("\r\n");
}

/// A text that begins like a formula would be run by a spreadsheet: an apostrophe makes it text
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
fn push_field(text: &mut String, field: &str) {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = formula || field.contains([',', '"', '\n', '\r', ';', '\t']);
    if quoted {
        text.push('"');
    }
    if formula {
        text.push('\'');
    }
    if quoted {
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_becomes_a_formula() {
        let field = |text: &str| {
            let mut out = String::new();
            push_field(&mut out, text);
            out
        };
        assert_eq!(field("Shop plugin"), "Shop plugin");
        assert_eq!(field("=HYPERLINK(\"http://evil.example\")"), "\"'=HYPERLINK(\"\"http://evil.example\"\")\"");
        assert_eq!(field("+1"), "\"'+1\"");
        assert_eq!(field("-1"), "\"'-1\"");
        assert_eq!(field("@SUM(1)"), "\"'@SUM(1)\"");
        assert_eq!(field("\t=1"), "\"'\t=1\"");
        assert_eq!(field("a,b \"c\""), "\"a,b \"\"c\"\"\"");
        assert_eq!(field("two\nlines"), "\"two\nlines\"");
        assert_eq!(field("متجر 🛒"), "متجر 🛒");
    }
}
