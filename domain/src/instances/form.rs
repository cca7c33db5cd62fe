//! The form that creates and edits an instance: every field as it was typed, and the rules that make an instance of
//! it. The console sends it as it is; the API fills it from `settings` and `credentials` ([`api_field`]).

use serde::{Deserialize, Serialize};

use super::{CloudApiSettings, Credential, Credentials, Instance, Provider, Settings, WahaSettings};
use crate::error::FieldError;

pub const NAME_MAX: usize = 80;
pub const URL_MAX: usize = 500;
pub const SESSION_MAX: usize = 54;
pub const CREDENTIAL_MAX: usize = 2_000;
pub const ID_MAX: usize = 32;
/// Meta's server.
pub const GRAPH: &str = "https://graph.facebook.com";
pub const GRAPH_VERSION: &str = "v24.0";

/// The fields as text. Field names are those of the HTML form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceForm {
    /// Made when the form is drawn: the same submission twice makes one instance.
    pub submission: String,
    pub name: String,
    /// `sandbox`, `waha` or `cloud_api`; cannot be changed afterwards.
    pub provider: String,
    /// WAHA's address; for the Cloud API empty means Meta's.
    pub base_url: String,
    /// WAHA's session; empty means `default`.
    pub session: String,
    /// Empty: the one that is stored stays. So with all credentials.
    pub api_key: String,
    /// The Graph API's version; empty means [`GRAPH_VERSION`].
    pub graph_version: String,
    pub phone_number_id: String,
    pub business_account_id: String,
    pub access_token: String,
    pub app_secret: String,
    pub verify_token: String,
    /// The version the edit started from.
    pub version: String,
}

impl Default for InstanceForm {
    fn default() -> Self {
        Self {
            submission: String::new(),
            name: String::new(),
            provider: Provider::Sandbox.as_str().into(),
            base_url: String::new(),
            session: String::new(),
            api_key: String::new(),
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

/// Without the credentials: forms are logged when they cannot be read.
impl std::fmt::Debug for InstanceForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceForm")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// An instance that may be made, or an existing one as it shall be. No Debug: it carries secrets.
#[derive(Clone)]
pub struct NewInstance {
    pub name: String,
    pub settings: Settings,
    /// What was typed in; on an edit, what is not here stays as it is.
    pub credentials: Credentials,
}

impl InstanceForm {
    /// The form that edits `instance`; credentials are never in it.
    pub fn of(instance: &Instance) -> Self {
        let mut form = Self {
            name: instance.name.clone(),
            provider: instance.provider().as_str().into(),
            version: instance.version.to_string(),
            ..Self::default()
        };
        match &instance.settings {
            Settings::Sandbox => {}
            Settings::Waha(waha) => {
                form.base_url.clone_from(&waha.base_url);
                form.session.clone_from(&waha.session);
            }
            Settings::CloudApi(cloud) => {
                form.base_url.clone_from(&cloud.base_url);
                form.graph_version.clone_from(&cloud.version);
                form.phone_number_id.clone_from(&cloud.phone_number_id);
                form.business_account_id.clone_from(&cloud.business_account_id);
            }
        }
        form
    }

    /// Fills a field in by its name; others are left alone.
    pub fn set(&mut self, field: &str, text: String) {
        let into = match field {
            "name" => &mut self.name,
            "base_url" => &mut self.base_url,
            "session" => &mut self.session,
            "api_key" => &mut self.api_key,
            "graph_version" => &mut self.graph_version,
            "phone_number_id" => &mut self.phone_number_id,
            "business_account_id" => &mut self.business_account_id,
            "access_token" => &mut self.access_token,
            "app_secret" => &mut self.app_secret,
            "verify_token" => &mut self.verify_token,
            _ => return,
        };
        *into = text;
    }

    /// The instance this form describes, or everything that is wrong with it.
    ///
    /// `current` is the instance being edited: its provider stays, and so do credentials that are left empty. A new
    /// address needs the credentials again: they were given for the old one, and whoever may edit an instance must not
    /// be able to have them sent somewhere else.
    pub fn parse(&self, current: Option<&Instance>) -> Result<NewInstance, Vec<FieldError>> {
        let mut errors = Errors::default();
        let name = name(&self.name, &mut errors);
        let Some(provider) = Provider::parse(&self.provider) else {
            errors.add("provider", "Choose sandbox, waha or cloud_api.");
            return Err(errors.0);
        };
        if current.is_some_and(|current| current.provider() != provider) {
            errors.add("provider", "The provider cannot be changed. Make a new instance for another one.");
        }
        let mut credentials = Credentials::default();
        let settings = match provider {
            Provider::Sandbox => Settings::Sandbox,
            Provider::Waha => {
                let base_url = base_url(&self.base_url, &mut errors);
                let kept = kept(current, &base_url);
                self.credential(Credential::ApiKey, Need::Optional, kept, &mut credentials, &mut errors);
                Settings::Waha(WahaSettings { base_url, session: session(&self.session, &mut errors) })
            }
            Provider::CloudApi => {
                let typed = self.base_url.trim();
                let base_url = if typed.is_empty() { GRAPH.to_owned() } else { base_url(typed, &mut errors) };
                let kept = kept(current, &base_url);
                for which in [Credential::AccessToken, Credential::AppSecret, Credential::VerifyToken] {
                    self.credential(which, Need::Required, kept, &mut credentials, &mut errors);
                }
                Settings::CloudApi(CloudApiSettings {
                    base_url,
                    version: graph_version(&self.graph_version, &mut errors),
                    phone_number_id: id(&self.phone_number_id, "phone_number_id", "phone number", &mut errors),
                    business_account_id: id(
                        &self.business_account_id,
                        "business_account_id",
                        "WhatsApp Business account",
                        &mut errors,
                    ),
                })
            }
        };
        self.refuse_foreign_fields(provider, &mut errors);
        if errors.0.is_empty() { Ok(NewInstance { name, settings, credentials }) } else { Err(errors.0) }
    }

    /// A field of another provider is a mistake about what will happen, not something to be dropped silently.
    fn refuse_foreign_fields(&self, provider: Provider, errors: &mut Errors) {
        let waha = [("api_key", &self.api_key), ("session", &self.session)];
        let cloud = [
            ("graph_version", &self.graph_version),
            ("phone_number_id", &self.phone_number_id),
            ("business_account_id", &self.business_account_id),
            ("access_token", &self.access_token),
            ("app_secret", &self.app_secret),
            ("verify_token", &self.verify_token),
        ];
        let mut refuse = |fields: &[(&str, &String)]| {
            for (field, text) in fields {
                if !text.is_empty() {
                    errors.add(field, format!("{} has no such setting.", provider.label()));
                }
            }
        };
        match provider {
            Provider::Sandbox => {
                refuse(&waha);
                refuse(&cloud);
                refuse(&[("base_url", &self.base_url)]);
            }
            Provider::Waha => refuse(&cloud),
            Provider::CloudApi => refuse(&waha),
        }
    }

    fn typed(&self, credential: Credential) -> &str {
        match credential {
            Credential::ApiKey => &self.api_key,
            Credential::AccessToken => &self.access_token,
            Credential::AppSecret => &self.app_secret,
            Credential::VerifyToken => &self.verify_token,
            // Made by us.
            Credential::HookSecret => "",
        }
    }

    fn credential(
        &self,
        credential: Credential,
        need: Need,
        kept: Kept<'_>,
        credentials: &mut Credentials,
        errors: &mut Errors,
    ) {
        let field = field_of(credential);
        let text = self.typed(credential).trim();
        let stored = |stored: &[Credential]| stored.contains(&credential);
        if text.is_empty() {
            match kept {
                Kept::All(names) if stored(names) => {}
                // The secret goes to the provider's address, or is of no use at another one.
                Kept::AddressChanged(names) if stored(names) => errors.add(
                    field,
                    format!("The address has changed: give the {} again.", credential.label().to_lowercase()),
                ),
                _ if need == Need::Required => errors.add(field, format!("{} is required.", credential.label())),
                _ => {}
            }
        } else if text.len() > CREDENTIAL_MAX {
            errors.add(field, format!("Keep it to {CREDENTIAL_MAX} bytes."));
        } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
            // It becomes a header's value, and a blank in it is always a slip of the clipboard.
            errors.add(field, "Only visible ASCII characters, without blanks.");
        } else if credential == Credential::VerifyToken && text.len() < 8 {
            errors.add(field, "At least 8 characters of your choice; type the same into Meta's webhook settings.");
        } else {
            credentials.set(credential, text.to_owned().into());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

/// Credentials that may stay as they are.
#[derive(Clone, Copy)]
enum Kept<'a> {
    /// There is nothing stored yet.
    None,
    All(&'a [Credential]),
    AddressChanged(&'a [Credential]),
}

fn kept<'a>(current: Option<&'a Instance>, base_url: &str) -> Kept<'a> {
    match current {
        None => Kept::None,
        Some(current) if current.settings.base_url() == Some(base_url) => Kept::All(&current.credentials),
        Some(current) => Kept::AddressChanged(&current.credentials),
    }
}

/// The form's field of a credential.
pub fn field_of(credential: Credential) -> &'static str {
    match credential {
        Credential::ApiKey => "api_key",
        Credential::HookSecret => "hook_secret",
        Credential::AccessToken => "access_token",
        Credential::AppSecret => "app_secret",
        Credential::VerifyToken => "verify_token",
    }
}

/// The path in the API's body of a field of this form.
pub fn api_field(field: &str) -> &str {
    match field {
        "base_url" => "settings.baseUrl",
        "session" => "settings.session",
        "graph_version" => "settings.version",
        "phone_number_id" => "settings.phoneNumberId",
        "business_account_id" => "settings.businessAccountId",
        "api_key" => "credentials.apiKey",
        "access_token" => "credentials.accessToken",
        "app_secret" => "credentials.appSecret",
        "verify_token" => "credentials.verifyToken",
        other => other,
    }
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        // One message a field: the first is the one to mend.
        if !self.0.iter().any(|e| e.field == field) {
            self.0.push(FieldError::new(field, message));
        }
    }
}

/// An instance's name: 1 to 80 characters on one line, without what forges log lines and confirmations.
fn name(text: &str, errors: &mut Errors) -> String {
    let name = text.trim();
    let length = name.chars().count();
    if length == 0 {
        errors.add("name", "Give the instance a name, such as “Support number”.");
    } else if length > NAME_MAX {
        errors.add("name", format!("Keep the name to {NAME_MAX} characters; this one has {length}."));
    } else if name.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) {
        errors.add("name", "The name has invisible control characters. Type it again without them.");
    }
    name.to_owned()
}

/// Scheme, host, port and perhaps a path, without a slash at the end. Whether the address may be reached is decided
/// where it is connected to.
fn base_url(text: &str, errors: &mut Errors) -> String {
    let url = text.trim().trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    if url.is_empty() {
        errors.add("base_url", "Give the server's address, such as https://waha.acme.example.");
    } else if url.len() > URL_MAX {
        errors.add("base_url", format!("Keep the address to {URL_MAX} characters."));
    } else if host.is_some_and(|host| host.contains('@')) {
        errors.add("base_url", "The address must not carry a user name or password; the key has a field of its own.");
    } else if host.is_none_or(str::is_empty)
        || url.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\' | '"' | '<' | '>'))
    {
        errors.add(
            "base_url",
            "Write http:// or https://, a host and perhaps a port, such as https://waha.acme.example.",
        );
    }
    url.to_owned()
}

/// WAHA's own rule for names of sessions.
fn session(text: &str, errors: &mut Errors) -> String {
    let session = text.trim();
    let session = if session.is_empty() { "default" } else { session };
    if session.len() > SESSION_MAX || !session.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        errors.add("session", format!("Letters, digits, - and _, at most {SESSION_MAX}."));
    }
    session.to_owned()
}

fn graph_version(text: &str, errors: &mut Errors) -> String {
    let version = text.trim();
    if version.is_empty() {
        return GRAPH_VERSION.to_owned();
    }
    let digits = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let known = version.strip_prefix('v').and_then(|v| v.split_once('.')).is_some_and(|(a, b)| digits(a) && digits(b));
    if !known {
        errors.add("graph_version", format!("Write a version of the Graph API, such as {GRAPH_VERSION}."));
    }
    version.to_owned()
}

fn id(text: &str, field: &str, of: &str, errors: &mut Errors) -> String {
    let id = text.trim();
    if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(|b| b.is_ascii_digit()) {
        errors.add(field, format!("Meta's id of the {of}: at most {ID_MAX} digits."));
    }
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{InstanceId, OrgId},
        instances::Status,
    };
    use uuid::Uuid;

    fn waha() -> InstanceForm {
        InstanceForm {
            name: " Support ".into(),
            provider: "waha".into(),
            base_url: "https://waha.acme.example:3000/".into(),
            session: "default".into(),
            api_key: "secret-of-waha".into(),
            ..InstanceForm::default()
        }
    }

    fn cloud() -> InstanceForm {
        InstanceForm {
            name: "Cloud".into(),
            provider: "cloud_api".into(),
            phone_number_id: "106540352242922".into(),
            business_account_id: "102290129340398".into(),
            access_token: "EAAJB".into(),
            app_secret: "s3cret".into(),
            verify_token: "choose-me".into(),
            ..InstanceForm::default()
        }
    }

    fn made(new: &NewInstance, credentials: &[Credential]) -> Instance {
        Instance {
            id: InstanceId(Uuid::nil()),
            organization_id: OrgId(Uuid::nil()),
            name: new.name.clone(),
            settings: new.settings.clone(),
            credentials: credentials.to_vec(),
            status: Status::Connected,
            status_detail: String::new(),
            status_at: crate::time::Time::UNIX_EPOCH,
            phone: None,
            created_at: crate::time::Time::UNIX_EPOCH,
            created_by_name: String::new(),
            version: 1,
        }
    }

    fn fields(form: &InstanceForm, current: Option<&Instance>) -> Vec<String> {
        form.parse(current).err().unwrap_or_default().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn makes_each_kind_of_instance() {
        let new = waha().parse(None).ok().unwrap();
        assert_eq!(new.name, "Support");
        assert_eq!(
            new.settings,
            Settings::Waha(WahaSettings {
                base_url: "https://waha.acme.example:3000".into(),
                session: "default".into()
            })
        );
        assert_eq!(new.credentials.get(Credential::ApiKey), Some("secret-of-waha"));
        let new = cloud().parse(None).ok().unwrap();
        assert_eq!(new.settings.base_url(), Some(GRAPH));
        assert_eq!(new.credentials.names(), [Credential::AccessToken, Credential::AppSecret, Credential::VerifyToken]);
        let sandbox = InstanceForm { name: "Sandbox".into(), ..InstanceForm::default() };
        assert_eq!(sandbox.parse(None).ok().unwrap().settings, Settings::Sandbox);
    }

    #[test]
    fn names_every_wrong_field() {
        let wrong = InstanceForm {
            name: " ".into(),
            phone_number_id: "+60 12".into(),
            business_account_id: String::new(),
            access_token: "two words".into(),
            app_secret: String::new(),
            verify_token: "short".into(),
            graph_version: "24".into(),
            base_url: "graph.facebook.com".into(),
            ..cloud()
        };
        assert_eq!(
            fields(&wrong, None),
            [
                "name",
                "base_url",
                "access_token",
                "app_secret",
                "verify_token",
                "graph_version",
                "phone_number_id",
                "business_account_id"
            ]
        );
        assert_eq!(fields(&InstanceForm { provider: "smtp".into(), ..waha() }, None), ["provider"]);
        assert_eq!(fields(&InstanceForm { session: "a/../b".into(), ..waha() }, None), ["session"]);
        assert_eq!(fields(&InstanceForm { access_token: "x".into(), ..waha() }, None), ["access_token"]);
        let sandbox = InstanceForm { provider: "sandbox".into(), ..waha() };
        assert_eq!(fields(&sandbox, None), ["api_key", "session", "base_url"]);
    }

    #[test]
    fn addresses() {
        let field = |url: &str| fields(&InstanceForm { base_url: url.into(), ..waha() }, None);
        for good in
            ["http://10.0.0.5:3000", "https://waha.example/base/path", "http://[::1]:3000", "https://bücher.example"]
        {
            assert_eq!(field(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "",
            "waha",
            "ftp://waha",
            "https://",
            "https:///x",
            "https://u:p@waha.example",
            "https://waha.example?x=1",
            "https://waha.example#x",
            "https://waha example",
            "https://waha.example\\@evil",
            "javascript:alert(1)",
        ] {
            assert_eq!(field(bad), ["base_url"], "{bad}");
        }
        assert_eq!(field(&format!("https://{}", "a".repeat(URL_MAX))), ["base_url"]);
    }

    #[test]
    fn an_edit_keeps_secrets_but_not_at_another_address() {
        let current = made(&waha().parse(None).ok().unwrap(), &[Credential::ApiKey, Credential::HookSecret]);
        let untouched = InstanceForm::of(&current);
        assert_eq!(untouched.api_key, "");
        assert!(untouched.parse(Some(&current)).ok().unwrap().credentials.is_empty());
        // The key was given for the old address: it must not be sent to a new one unseen.
        let moved = InstanceForm { base_url: "https://evil.example".into(), ..untouched.clone() };
        assert_eq!(fields(&moved, Some(&current)), ["api_key"]);
        let moved = InstanceForm { api_key: "new".into(), ..moved };
        assert_eq!(fields(&moved, Some(&current)), Vec::<String>::new());
        assert_eq!(fields(&InstanceForm { name: "X".into(), ..InstanceForm::default() }, Some(&current)), ["provider"]);

        let current = made(
            &cloud().parse(None).ok().unwrap(),
            &[Credential::AccessToken, Credential::AppSecret, Credential::VerifyToken],
        );
        let moved = InstanceForm { base_url: "https://evil.example".into(), ..InstanceForm::of(&current) };
        assert_eq!(fields(&moved, Some(&current)), ["access_token", "app_secret", "verify_token"]);
    }

    #[test]
    fn debug_tells_no_secret() {
        let text = format!("{:?} {:?}", cloud(), waha());
        for secret in ["EAAJB", "s3cret", "choose-me", "secret-of-waha"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
