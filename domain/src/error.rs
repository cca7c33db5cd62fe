//! One error for everything `domain` does. The API turns it into a problem document, the pages into `AppError`.

use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something wrong with one field of a form or a body, in words for the person who filled it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's name as it stands in the form or body.
    pub field: String,
    /// A sentence: what is wrong and what would be right.
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or not yours: the two are told apart nowhere.
    #[error("not found")]
    NotFound,
    /// The person's role does not allow it. The text says which role would.
    #[error("{0}")]
    Forbidden(String),
    /// The thing changed meanwhile, or is in a state that does not allow this. The text says what happened.
    #[error("{0}")]
    Conflict(String),
    #[error("invalid input")]
    Invalid(Vec<FieldError>),
    /// Too many attempts.
    #[error("too many attempts")]
    Limited { retry_after_s: u64 },
    /// The database cannot be reached for now.
    #[error("the database cannot be reached")]
    Unavailable,
    /// Ours. The text is for the log only.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// An error of one field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

#[cfg(feature = "postgres")]
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::RowNotFound => Self::NotFound,
            // `Protocol`: whoever answers is no Postgres any more, such as a proxy that hangs up.
            E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::Tls(_) | E::Protocol(_) => Self::Unavailable,
            E::Database(db) if db.code().is_some_and(|code| passes(&code)) => Self::Unavailable,
            _ => Self::Internal(error.to_string()),
        }
    }
}

/// SQLSTATEs that say nothing against the statement: tried again, it may succeed (PostgreSQL, appendix A).
#[cfg(feature = "postgres")]
fn passes(code: &str) -> bool {
    // Connection exceptions; no disk, memory or connections left.
    matches!(code.get(..2), Some("08" | "53"))
        // The server shuts down or starts.
        || code.starts_with("57P0")
        // Read-only after a failover; serialisation failure, deadlock; lock not available; took too long.
        || matches!(code, "25006" | "40001" | "40P01" | "55P03" | "57014")
}

/// The named constraint that a statement violated.
#[cfg(feature = "postgres")]
pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|db| db.constraint())
}

#[cfg(feature = "postgres")]
pub(crate) trait OnConstraint<T> {
    /// Turns the violation of a named constraint into an error for people.
    fn on_constraint(self, name: &str, error: impl FnOnce() -> Error) -> Result<T>;
}

#[cfg(feature = "postgres")]
impl<T> OnConstraint<T> for std::result::Result<T, sqlx::Error> {
    fn on_constraint(self, name: &str, error: impl FnOnce() -> Error) -> Result<T> {
        self.map_err(|e| if constraint(&e) == Some(name) { error() } else { e.into() })
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use sqlx::PgPool;

    use super::*;

    #[sqlx::test(migrations = false)]
    async fn what_passes_is_told_from_what_is_wrong(pool: PgPool) {
        let raise = async |code: &str| {
            let sql = format!("do $$ begin raise exception 'as if' using errcode = '{code}'; end $$");
            Error::from(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap_err())
        };
        for code in ["08006", "25006", "40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "57P01", "57P03"]
        {
            assert!(matches!(raise(code).await, Error::Unavailable), "{code}");
        }
        for code in ["22021", "22P02", "23505", "23514", "42501", "42P01", "57000", "XX000"] {
            assert!(matches!(raise(code).await, Error::Internal(_)), "{code}");
        }
    }
}
