//! `GET /problems`: what the errors mean. Each error links here.

use axum::extract::Path;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{About, CODES, Code, Problem, Result};

/// An error's explanation.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemInfo {
    #[schema(example = "insufficient_scope")]
    code: &'static str,
    #[schema(minimum = 400, maximum = 599, example = 403)]
    status: u16,
    #[schema(example = "Scope missing")]
    title: &'static str,
    /// What happened.
    #[schema(example = "This key lacks a scope that the call needs.")]
    message: &'static str,
    /// What to do about it.
    #[schema(example = "Give the key one of requiredScopes in the console, or use another key.")]
    fix: &'static str,
}

impl From<&About> for ProblemInfo {
    fn from(about: &About) -> Self {
        let About { code, status, title, message, fix } = *about;
        Self { code, status, title, message, fix }
    }
}

/// All errors
///
/// Every error that the API answers with: what happened and what to do. Needs no key.
#[utoipa::path(
    get,
    path = "/problems",
    tag = "Documentation",
    operation_id = "listProblems",
    security(()),
    responses((status = 200, description = "The errors, in the order of their status", body = Vec<ProblemInfo>)),
)]
pub(super) async fn list() -> axum::Json<Vec<ProblemInfo>> {
    axum::Json(CODES.iter().map(|(_, about)| about.into()).collect())
}

/// One error
///
/// Where the `docs` link of an error leads. Needs no key.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "Documentation",
    operation_id = "getProblem",
    security(()),
    params(("code" = String, Path, description = "The error's code", example = "insufficient_scope")),
    responses((status = 200, description = "The error", body = ProblemInfo)),
)]
pub(super) async fn one(Path(code): Path<String>) -> Result<axum::Json<ProblemInfo>> {
    let about =
        Code::find(&code).ok_or_else(|| Problem::new(Code::NotFound).saying("There is no error with this code."))?;
    Ok(axum::Json(about.into()))
}
