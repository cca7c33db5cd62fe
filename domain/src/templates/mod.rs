//! Templates: message patterns that the provider approved, and the check of what is filled into them.
//!
//! A template is kept as the provider lists it (the Graph API's form, its words untouched); [`Pattern`] is what of it
//! matters for the check: which parts have variables, which need a medium, which buttons want a parameter.

pub mod check;
pub mod form;
pub mod pattern;
#[cfg(feature = "postgres")]
pub mod store;

pub use check::check;
pub use form::TemplateForm;
pub use pattern::Pattern;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{InstanceId, TemplateId},
    time::Time,
};

/// The status in which a template may be sent.
pub const APPROVED: &str = "APPROVED";

/// How the variables of a template are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ParameterFormat {
    /// `{{1}}`, `{{2}}`: filled in by their order.
    Positional,
    /// `{{first_name}}`: filled in by `parameter_name`.
    Named,
}

impl ParameterFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Positional => "POSITIONAL",
            Self::Named => "NAMED",
        }
    }

    /// Upper or lower case, as listings and creation differ.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Positional, Self::Named].into_iter().find(|format| format.as_str().eq_ignore_ascii_case(text))
    }
}

/// A template of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub id: TemplateId,
    pub instance_id: InstanceId,
    /// The provider's own id.
    pub provider_id: Option<String>,
    pub name: String,
    /// The code of the language, such as `en_US`.
    pub language: String,
    /// `MARKETING`, `UTILITY`, `AUTHENTICATION`, or a newer word of the provider.
    pub category: String,
    /// What it was before the provider changed it.
    pub previous_category: Option<String>,
    /// The provider's word, such as [`APPROVED`].
    pub status: String,
    pub parameter_format: ParameterFormat,
    /// The components in the provider's form: a list of objects with `type`.
    pub components: Value,
    pub synced_at: Time,
}

impl Template {
    /// What matters for the check.
    pub fn pattern(&self) -> Pattern {
        Pattern::of(&self.components)
    }
}

/// A template as a provider lists it, or as somebody makes it for the sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub provider_id: Option<String>,
    pub name: String,
    pub language: String,
    pub category: String,
    pub status: String,
    pub parameter_format: ParameterFormat,
    pub components: Value,
}

impl Listed {
    /// Reads one entry of a Graph API listing. Fields that are not known are left out; ids may be texts or numbers.
    ///
    /// # Errors
    /// A sentence when it has no name or language: then it is no template.
    pub fn parse(entry: &Value) -> Result<Self, String> {
        let text = |field: &str| entry[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let name = text("name").ok_or("A template without a name was listed.")?;
        let language =
            text("language").ok_or_else(|| format!("The template “{name}” was listed without a language."))?;
        let provider_id = match &entry["id"] {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        };
        let components = match &entry["components"] {
            Value::Array(components) => Value::Array(components.clone()),
            _ => Value::Array(Vec::new()),
        };
        Ok(Self {
            provider_id,
            language,
            category: text("category").unwrap_or_default(),
            status: text("status").unwrap_or_default(),
            parameter_format: text("parameter_format")
                .and_then(|format| ParameterFormat::parse(&format))
                // Listings of older templates say nothing; the variables themselves tell.
                .unwrap_or_else(|| Pattern::of(&components).format()),
            components,
            name,
        })
    }
}
