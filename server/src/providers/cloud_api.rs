//! Meta's WhatsApp Cloud API (<https://developers.facebook.com/docs/whatsapp/cloud-api>).
//!
//! Our body is Meta's own, so a send is that body and an envelope. `biz_opaque_callback_data` carries our message's id:
//! Meta gives it back with every status, which tells what became of a message whose answer was lost. Nothing can be
//! asked about a message.

mod errors;

use async_trait::async_trait;
use domain::instances::{CloudApiSettings, Credential, Session, Settings, Status};
use http::{Method, header};
use serde_json::{Value, json};

use super::{
    Connection, Found, Outgoing, Provider, ProviderError, SendOutcome,
    http::{ASKING, Reply, SENDING, call, outcome_of, secret_header},
};
use crate::net::{Client, Limits, NetError};
use errors::Handling;

/// Pages of a listing that are read, of 100 templates each: more than an account may have.
const PAGES_MAX: usize = 100;
const TEMPLATE_FIELDS: &str = "id,name,status,category,language,components,parameter_format,quality_score";

pub struct CloudApi {
    client: Client,
    sending: Limits,
}

impl CloudApi {
    pub fn new(client: Client) -> Self {
        Self::with_limits(client, SENDING)
    }

    /// As [`CloudApi::new`], with other limits for a send.
    pub fn with_limits(client: Client, sending: Limits) -> Self {
        Self { client, sending }
    }

    async fn call(
        &self,
        connection: &Connection,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limits: Limits,
    ) -> Result<Reply, NetError> {
        let Settings::CloudApi(cloud) = &connection.settings else {
            return Err(NetError::NotSent("This instance is not connected through the Cloud API.".into()));
        };
        let token = connection.credentials.get(Credential::AccessToken).unwrap_or_default();
        let credential = secret_header(header::AUTHORIZATION, &format!("Bearer {token}"))?;
        let url = format!("{}/{}/{path}", cloud.base_url, cloud.version);
        call(&self.client, method, &url, Some(credential), body, limits).await
    }

    /// As [`CloudApi::call`], for people: an error in words unless it succeeded.
    async fn ask(
        &self,
        connection: &Connection,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ProviderError> {
        let reply = self.call(connection, method, path, body, ASKING).await?;
        match (reply.status, reply.json.as_ref()) {
            (200..=299, Some(Value::Object(_))) => reply.json.ok_or_else(no_sense),
            (401, _) => Err(ProviderError::Refused(format!("Meta refused the access token: {}", reply.words()))),
            (400..=499, _) => Err(ProviderError::Refused(format!("Meta refused it: {}", reply.words()))),
            (500..=599, _) => Err(ProviderError::Unreachable(format!(
                "Meta answered with status {}: {}",
                reply.status,
                reply.words()
            ))),
            _ => Err(no_sense()),
        }
    }

    /// Has statuses and messages sent to us; a sentence when Meta does not want to.
    async fn subscribe(&self, connection: &Connection, cloud: &CloudApiSettings, hook_url: &str) -> Result<(), String> {
        if !hook_url.starts_with("https://") {
            return Err("Meta calls https addresses only: statuses and replies will not arrive.".into());
        }
        let token = connection.credentials.get(Credential::VerifyToken).unwrap_or_default();
        let hook = json!({ "override_callback_uri": hook_url, "verify_token": token });
        let refused = |error: ProviderError| format!("Statuses and replies will not arrive: {error}");
        // The account's hook for templates, then the number's own: another number of the account may have another one.
        let account = format!("{}/subscribed_apps", cloud.business_account_id);
        self.ask(connection, Method::POST, &account, Some(&hook)).await.map_err(refused)?;
        let number = json!({ "webhook_configuration": hook });
        self.ask(connection, Method::POST, &cloud.phone_number_id, Some(&number)).await.map_err(refused)?;
        Ok(())
    }
}

fn settings(connection: &Connection) -> Result<&CloudApiSettings, ProviderError> {
    match &connection.settings {
        Settings::CloudApi(cloud) => Ok(cloud),
        _ => Err(ProviderError::NotOffered("This instance is not connected through the Cloud API.".into())),
    }
}

fn no_sense() -> ProviderError {
    ProviderError::Unreachable("The answer is none of the Graph API.".into())
}

/// The call's body.
///
/// # Errors
/// When the body cannot be written as JSON, which no body is known for.
fn request(message: &Outgoing) -> Result<Value, serde_json::Error> {
    let mut body = serde_json::to_value(&message.body)?;
    body["messaging_product"] = "whatsapp".into();
    body["recipient_type"] = "individual".into();
    body["to"] = message.to.digits().into();
    body["type"] = message.body.kind().into();
    body["biz_opaque_callback_data"] = message.id.to_string().into();
    Ok(body)
}

#[async_trait]
impl Provider for CloudApi {
    async fn send(&self, connection: &Connection, message: &Outgoing) -> SendOutcome {
        let Settings::CloudApi(cloud) = &connection.settings else {
            return SendOutcome::Failed {
                code: "misconfigured".into(),
                message: "This is no Cloud API instance.".into(),
            };
        };
        let body = match request(message) {
            Ok(body) => body,
            Err(error) => return SendOutcome::Failed { code: "unwritable".into(), message: error.to_string() },
        };
        let path = format!("{}/messages", cloud.phone_number_id);
        match self.call(connection, Method::POST, &path, Some(&body), self.sending).await {
            Ok(reply) => outcome(&reply, message.attempt),
            Err(error) => outcome_of(error),
        }
    }

    async fn find(&self, _: &Connection, _: &Outgoing) -> Found {
        Found::CannotTell
    }

    async fn connect(&self, connection: &Connection, hook_url: &str) -> Result<Session, ProviderError> {
        let cloud = settings(connection)?;
        let mut session = self.session(connection).await?;
        if session.status == Status::Connected
            && let Err(sentence) = self.subscribe(connection, cloud, hook_url).await
        {
            session.detail = sentence;
        }
        Ok(session)
    }

    /// There is nothing at Meta to end: numbers of the Cloud API are always there.
    async fn disconnect(&self, _: &Connection, _: bool) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn session(&self, connection: &Connection) -> Result<Session, ProviderError> {
        let cloud = settings(connection)?;
        let path = format!("{}?fields=id,display_phone_number,verified_name,status", cloud.phone_number_id);
        let number = self.ask(connection, Method::GET, &path, None).await?;
        if number["id"].as_str() != Some(&cloud.phone_number_id) {
            return Err(no_sense());
        }
        let phone: String =
            number["display_phone_number"].as_str().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        // Meta's word for the number, when it says one; PENDING and others are numbers that cannot send yet.
        let word = number["status"].as_str().unwrap_or("CONNECTED");
        let status = match word {
            "CONNECTED" => Status::Connected,
            "PENDING" | "UNVERIFIED" | "MIGRATED" => Status::Connecting,
            "DISCONNECTED" | "DELETED" => Status::Disconnected,
            "BANNED" => Status::Failed,
            // RESTRICTED, FLAGGED, RATE_LIMITED: limited, but sending; Meta refuses single messages itself.
            _ => Status::Connected,
        };
        let name = number["verified_name"].as_str().unwrap_or_default();
        let detail = if name.is_empty() { word.to_owned() } else { format!("{name} ({word})") };
        Ok(Session { status, detail, phone: Some(phone).filter(|phone| !phone.is_empty()) })
    }

    async fn qr(&self, _: &Connection) -> Result<String, ProviderError> {
        Err(ProviderError::NotOffered("The Cloud API has no QR code: its token is enough.".into()))
    }

    async fn templates(&self, connection: &Connection) -> Result<Vec<Value>, ProviderError> {
        let cloud = settings(connection)?;
        let mut all = Vec::new();
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let path =
                format!("{}/message_templates?fields={TEMPLATE_FIELDS}&limit=100{after}", cloud.business_account_id);
            let mut page = self.ask(connection, Method::GET, &path, None).await?;
            let Value::Array(listed) = page["data"].take() else { return Err(no_sense()) };
            all.extend(listed);
            // `paging.next` is an address of the provider's choice, with the token in it: only that it is there counts.
            let cursor = page["paging"]["cursors"]["after"].as_str();
            match cursor.filter(|cursor| page["paging"]["next"].is_string() && !cursor.is_empty()) {
                Some(cursor) => after = format!("&after={}", encoded(cursor)),
                None => return Ok(all),
            }
        }
        Err(ProviderError::Unreachable(format!("Meta's list of templates does not end after {PAGES_MAX} pages.")))
    }
}

/// Percent-encoded for a query (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What an answer to a send means.
fn outcome(reply: &Reply, attempt: u32) -> SendOutcome {
    if matches!(reply.status, 200 | 201) {
        let id = reply.json.as_ref().and_then(|json| json["messages"][0]["id"].as_str()).filter(|id| !id.is_empty());
        return match id {
            Some(id) => SendOutcome::Sent { provider_message_id: id.to_owned() },
            None => SendOutcome::Unknown { message: "Meta accepted it, but its answer names no message.".into() },
        };
    }
    let message = reply.words();
    let Some(code) = reply.json.as_ref().and_then(|json| json["error"]["code"].as_i64()) else {
        // Not Meta's own words: a proxy or a load balancer.
        return match reply.status {
            401 | 403 => SendOutcome::Disconnected { code: "unauthorized".into(), message },
            429 | 500 | 503 => {
                let (code, throttled) = (format!("http_{}", reply.status), reply.status == 429);
                SendOutcome::Retry { code, message, after_s: wait_s(reply), throttled }
            }
            400..=499 => SendOutcome::Failed { code: format!("http_{}", reply.status), message },
            // A gateway lost the answer, or whoever answers is not Meta: it may have left.
            status => {
                SendOutcome::Unknown { message: format!("An answer with status {status} came from before Meta.") }
            }
        };
    };
    let handling = match errors::handling(code) {
        Some(handling) => handling,
        None if reply.status == 401 => Handling::Account,
        None if reply.status == 429 || reply.status >= 500 => Handling::Retry,
        None => Handling::Permanent,
    };
    let code_text = code.to_string();
    match handling {
        Handling::Account => SendOutcome::Disconnected { code: code_text, message },
        Handling::Permanent => SendOutcome::Failed { code: code_text, message },
        Handling::Retry => {
            // The pair limit asks for 4^X seconds.
            let pair = (code == errors::PAIR_LIMIT).then(|| 4u64.saturating_pow(attempt.clamp(1, 6)));
            let throttled = errors::is_throttling(code) || reply.status == 429;
            SendOutcome::Retry { code: code_text, message, after_s: wait_s(reply).or(pair), throttled }
        }
    }
}

/// How long Meta asks us to wait: `Retry-After`, or minutes in `X-Business-Use-Case-Usage`, an object of lists.
fn wait_s(reply: &Reply) -> Option<u64> {
    reply.retry_after_s().or_else(|| {
        let usage: Value = serde_json::from_slice(reply.headers.get("x-business-use-case-usage")?.as_bytes()).ok()?;
        let minutes = usage
            .as_object()?
            .values()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|case| case["estimated_time_to_regain_access"].as_u64())
            .max()?;
        (minutes > 0).then(|| minutes.saturating_mul(60))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        ids::MessageId,
        messages::{Body, Recipient},
    };
    use http::HeaderMap;

    fn reply(status: u16, json: Value) -> Reply {
        Reply { status, headers: HeaderMap::new(), text: json.to_string(), json: Some(json) }
    }

    fn error(status: u16, code: i64) -> SendOutcome {
        outcome(&reply(status, json!({ "error": { "message": "m", "code": code } })), 1)
    }

    #[test]
    fn each_error_is_handled_as_its_kind_asks() {
        for code in [4, 80007, 130429, 131048, 131056, 131064] {
            assert!(matches!(error(400, code), SendOutcome::Retry { throttled: true, .. }), "{code}");
        }
        for code in [1, 2, 131000, 131016, 131057] {
            assert!(matches!(error(400, code), SendOutcome::Retry { throttled: false, .. }), "{code}");
        }
        for code in [
            131026, 131047, 131049, 131050, 130472, 131008, 131009, 131030, 131051, 132000, 132001, 132015, 132016, 100,
        ] {
            assert!(matches!(error(400, code), SendOutcome::Failed { .. }), "{code}");
        }
        for code in [190, 368, 131031, 131042, 133010, 0, 3, 10, 200, 299] {
            assert!(matches!(error(400, code), SendOutcome::Disconnected { .. }), "{code}");
        }
        // A code nobody knows yet: the status decides.
        assert!(matches!(error(400, 999_999), SendOutcome::Failed { .. }));
        assert!(matches!(error(401, 999_999), SendOutcome::Disconnected { .. }));
        assert!(matches!(error(503, 999_999), SendOutcome::Retry { .. }));
    }

    #[test]
    fn the_pair_limit_waits_longer_each_time_and_meta_may_say_how_long() {
        let body = json!({ "error": { "message": "m", "code": 131056 } });
        let after = |reply: &Reply, attempt| match outcome(reply, attempt) {
            SendOutcome::Retry { after_s, .. } => after_s,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(&reply(400, body.clone()), 1), Some(4));
        assert_eq!(after(&reply(400, body.clone()), 3), Some(64));
        let mut usage = reply(400, json!({ "error": { "message": "m", "code": 80007 } }));
        usage.headers.insert(
            "x-business-use-case-usage",
            r#"{"123":[{"type":"messages","estimated_time_to_regain_access":7}]}"#.parse().unwrap(),
        );
        assert_eq!(after(&usage, 1), Some(420));
        usage.headers.insert("retry-after", "9".parse().unwrap());
        assert_eq!(after(&usage, 1), Some(9));
    }

    #[test]
    fn an_answer_without_sense_is_unknown_never_failed_or_retried() {
        for json in [
            json!({}),
            json!({ "messages": [] }),
            json!({ "messages": [{ "id": "" }] }),
            json!("ok"),
            json!({ "success": true }),
        ] {
            assert!(matches!(outcome(&reply(200, json.clone()), 1), SendOutcome::Unknown { .. }), "{json}");
        }
        for status in [302, 502, 504] {
            let gateway = Reply { status, headers: HeaderMap::new(), json: None, text: "<html>".into() };
            assert!(matches!(outcome(&gateway, 1), SendOutcome::Unknown { .. }), "{status}");
        }
    }

    #[test]
    fn the_body_is_metas_with_our_id_in_it() {
        let id = MessageId::new();
        let message =
            Outgoing { id, to: Recipient::parse("+16505551234").unwrap(), body: Body::text("Hi"), attempt: 1 };
        assert_eq!(
            request(&message).unwrap(),
            json!({
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": "16505551234",
                "type": "text",
                "text": { "body": "Hi", "preview_url": false },
                "biz_opaque_callback_data": id.to_string(),
            })
        );
    }

    #[test]
    fn cursors_cannot_add_parameters() {
        assert_eq!(encoded("QVFI&access=x/=é"), "QVFI%26access%3Dx%2F%3D%C3%A9");
    }
}
