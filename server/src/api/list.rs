//! What stands after the question mark: read like a body, so that a mistyped parameter is noticed; and pages of lists.

use std::{
    ops::{Deref, DerefMut, RangeInclusive},
    str::FromStr,
};

use axum::extract::FromRequestParts;
use domain::{fields::Object, ids::BadId};
use http::request::Parts;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::problem::{Code, Problem, Result};
use crate::state::AppState;

/// Entries of a page, when the caller does not say.
pub(super) const LIMIT: u32 = 25;
pub(super) const LIMIT_MAX: u32 = 100;

/// The query's parameters. Take what you know, then call [`Query::finish`]: the rest is refused by name.
///
/// All of [`Object`] works, with texts for values.
pub(super) struct Query(Object);

impl Deref for Query {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

impl DerefMut for Query {
    fn deref_mut(&mut self) -> &mut Object {
        &mut self.0
    }
}

impl FromRequestParts<AppState> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self> {
        Self::of(parts.uri.query().unwrap_or_default())
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub limit: u32,
    /// Entries after this one; `None`: from the beginning.
    pub after: Option<T>,
}

impl Query {
    /// Reads what stands after the question mark.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn of(query: &str) -> Result<Self> {
        let uri = format!("/?{query}").parse::<http::Uri>();
        let pairs = uri
            .ok()
            .and_then(|uri| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok())
            .ok_or_else(|| Problem::new(Code::UnreadableBody).saying("The query string cannot be read."))?;
        let mut map = Map::new();
        let mut twice = Vec::new();
        let mut nul = Vec::new();
        for (name, value) in pairs.0 {
            // Postgres takes no NUL in a text.
            if value.contains('\0') {
                nul.push(name.clone());
            }
            if map.insert(name.clone(), Value::String(value)).is_some() {
                twice.push(name);
            }
        }
        let mut object = Object::new(map);
        for name in twice.into_iter().take(20) {
            object.complain(name.chars().take(100).collect::<String>(), "This stands in the query twice.");
        }
        for name in nul.into_iter().take(20) {
            object.complain(name.chars().take(100).collect::<String>(), "This must not contain the character NUL.");
        }
        Ok(Self(object))
    }

    /// `limit` and `cursor`. A cursor is the id of the last entry of the page before.
    pub fn page<T: FromStr<Err = BadId>>(&mut self) -> Page<T> {
        let limit = self.whole("limit", 1..=i64::from(LIMIT_MAX)).and_then(|limit| u32::try_from(limit).ok());
        let cursor = self.optional_text("cursor");
        let after = cursor.as_deref().and_then(|text| text.parse().ok());
        if cursor.is_some() && after.is_none() {
            self.complain("cursor", "This is no cursor: take it from nextCursor of the page before.");
        }
        Page { limit: limit.unwrap_or(LIMIT), after }
    }

    /// A whole number that may be missing.
    pub fn whole(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let text = self.optional_text(name)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.complain(name, format!("This must be a whole number from {} to {}.", range.start(), range.end()));
        }
        number
    }

    /// `true` or `false`; may be missing.
    pub fn yes(&mut self, name: &'static str) -> Option<bool> {
        self.optional_choice(name, &["true", "false"], |text| text.parse().ok())
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Everything that was wrong, unknown parameters included.
    pub fn finish(self) -> Result<()> {
        self.0.finish().map_err(Problem::invalid)
    }
}

/// Describes `limit` and `cursor` in the document: `params(Paging, …)`.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes Query::page")]
pub(super) struct Paging {
    /// Entries of a page.
    #[param(minimum = 1, maximum = 100, default = 25)]
    limit: Option<u32>,
    /// `nextCursor` of the page before; without it, the first page.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to get the next page; null: this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use domain::ids::MessageId;
    use uuid::Uuid;

    use super::*;

    fn page(query: &str) -> std::result::Result<Page<MessageId>, Vec<String>> {
        let mut query = Query::of(query).unwrap();
        let page = query.page();
        query.0.finish().map(|()| page).map_err(|errors| errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn pages() {
        let id = MessageId(Uuid::from_u128(7));
        assert_eq!(page(""), Ok(Page { limit: 25, after: None }));
        assert_eq!(page(&format!("limit=100&cursor={id}")), Ok(Page { limit: 100, after: Some(id) }));
        for (query, wrong) in [
            ("limit=0", vec!["limit"]),
            ("limit=101", vec!["limit"]),
            ("limit=ten", vec!["limit"]),
            ("limit=", vec!["limit"]),
            ("limit=99999999999999999999", vec!["limit"]),
            ("cursor=x", vec!["cursor"]),
            ("cursor=key_01jd3qz5k8e9rb1w0c5m2n6x7y", vec!["cursor"]),
            ("limt=10&%F0%9F%98%80=1", vec!["limt", "😀"]),
            ("limit=10&limit=20", vec!["limit"]),
            ("cursor=%00", vec!["cursor", "cursor"]),
        ] {
            assert_eq!(page(query), Err(wrong.into_iter().map(str::to_owned).collect()), "{query}");
        }
    }
}
