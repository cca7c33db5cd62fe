//! The form of an instance as a page draws it. Every provider has its own fields, and a browser without script sends
//! them all: [`InstanceInput::form`] takes those of the chosen provider.

use domain::{
    error::FieldError,
    instances::{Credential, Instance, InstanceForm, Provider},
};
use serde::{Deserialize, Serialize};

/// The fields as text; names are those of the HTML form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceInput {
    /// Made when the form is drawn: the same submission twice makes one instance.
    pub submission: String,
    pub name: String,
    pub provider: String,
    pub waha_url: String,
    pub session: String,
    pub api_key: String,
    pub cloud_url: String,
    pub graph_version: String,
    pub phone_number_id: String,
    pub business_account_id: String,
    pub access_token: String,
    pub app_secret: String,
    pub verify_token: String,
    /// The version the edit started from.
    pub version: String,
}

impl Default for InstanceInput {
    fn default() -> Self {
        let usual = InstanceForm::default();
        Self {
            submission: String::new(),
            name: String::new(),
            provider: usual.provider,
            waha_url: String::new(),
            session: usual.session,
            api_key: String::new(),
            cloud_url: String::new(),
            graph_version: String::new(),
            phone_number_id: String::new(),
            business_account_id: String::new(),
            access_token: String::new(),
            app_secret: String::new(),
            verify_token: String::new(),
            version: String::new(),
        }
    }
}

/// Without the credentials.
impl std::fmt::Debug for InstanceInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceInput")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl InstanceInput {
    /// The form that edits `instance`; credentials are never in it.
    pub fn of(instance: &Instance) -> Self {
        let form = InstanceForm::of(instance);
        let (waha_url, cloud_url) = match instance.provider() {
            Provider::CloudApi => (String::new(), form.base_url),
            Provider::Waha | Provider::Sandbox => (form.base_url, String::new()),
        };
        Self {
            name: form.name,
            provider: form.provider,
            waha_url,
            session: form.session,
            cloud_url,
            graph_version: form.graph_version,
            phone_number_id: form.phone_number_id,
            business_account_id: form.business_account_id,
            version: form.version,
            ..Self::default()
        }
    }

    /// What the rules are asked about: the fields of the chosen provider, and nothing of the others.
    pub fn form(&self) -> InstanceForm {
        let common = InstanceForm {
            submission: self.submission.clone(),
            name: self.name.clone(),
            provider: self.provider.clone(),
            version: self.version.clone(),
            ..InstanceForm::default()
        };
        match Provider::parse(&self.provider) {
            Some(Provider::Waha) => InstanceForm {
                base_url: self.waha_url.clone(),
                session: self.session.clone(),
                api_key: self.api_key.clone(),
                ..common
            },
            Some(Provider::CloudApi) => InstanceForm {
                base_url: self.cloud_url.clone(),
                graph_version: self.graph_version.clone(),
                phone_number_id: self.phone_number_id.clone(),
                business_account_id: self.business_account_id.clone(),
                access_token: self.access_token.clone(),
                app_secret: self.app_secret.clone(),
                verify_token: self.verify_token.clone(),
                ..common
            },
            Some(Provider::Sandbox) | None => common,
        }
    }

    /// What was wrong, under the names of this form's fields.
    pub fn name_errors(&self, errors: Vec<FieldError>) -> Vec<FieldError> {
        let url = if self.provider == Provider::CloudApi.as_str() { "cloud_url" } else { "waha_url" };
        errors
            .into_iter()
            .map(|error| if error.field == "base_url" { FieldError { field: url.into(), ..error } } else { error })
            .collect()
    }

    /// The form as it may wait in a session: without what is secret.
    #[must_use]
    pub fn without_credentials(self) -> Self {
        Self {
            api_key: String::new(),
            access_token: String::new(),
            app_secret: String::new(),
            verify_token: String::new(),
            ..self
        }
    }
}

/// The field in which a credential is typed; the hook's secret is made by us.
pub fn field_of(credential: Credential) -> Option<&'static str> {
    (credential != Credential::HookSecret).then(|| domain::instances::form::field_of(credential))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> InstanceInput {
        InstanceInput {
            name: "Shop".into(),
            waha_url: "http://waha.acme.example".into(),
            api_key: "waha-key".into(),
            cloud_url: String::new(),
            graph_version: "v24.0".into(),
            phone_number_id: "1".into(),
            business_account_id: "2".into(),
            access_token: "token".into(),
            app_secret: "secret".into(),
            verify_token: "verify-me".into(),
            ..InstanceInput::default()
        }
    }

    #[test]
    fn only_the_chosen_provider_is_heard() {
        for provider in Provider::ALL {
            let input = InstanceInput { provider: provider.as_str().into(), ..everything() };
            let new = input.form().parse(None).ok();
            assert_eq!(new.map(|new| new.settings.provider()), Some(provider));
        }
    }

    #[test]
    fn errors_stand_at_the_field_that_shows() {
        let input = InstanceInput { provider: "waha".into(), waha_url: "nowhere".into(), ..everything() };
        let errors = input.name_errors(input.form().parse(None).err().unwrap_or_default());
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["waha_url"]);
        let input = InstanceInput { provider: "cloud_api".into(), cloud_url: "nowhere".into(), ..everything() };
        let errors = input.name_errors(input.form().parse(None).err().unwrap_or_default());
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["cloud_url"]);
    }

    #[test]
    fn no_secret_is_printed_or_kept() {
        let input = everything();
        let kept = serde_json::to_string(&input.clone().without_credentials()).unwrap();
        for text in [kept, format!("{input:?}")] {
            for secret in ["waha-key", "token\":\"token", "\"secret\"", "verify-me"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
}
