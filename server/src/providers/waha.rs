//! WAHA: an ordinary WhatsApp account behind an HTTP server (<https://waha.devlike.pro>, API 2026.7).
//!
//! Every send answers 201. Texts, locations and contacts take an id that we choose; it is our message's UUID, so that a
//! message whose answer was lost can be looked up, and an acknowledgement tells which message it is about. Media take
//! none: of them only the acknowledgement of an answer that arrived tells anything.

mod card;
mod request;

use async_trait::async_trait;
use domain::{
    ids::MessageId,
    instances::{Credential, Session, Settings, Status, WahaSettings},
    messages::Recipient,
};
use http::{HeaderName, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Connection, Found, Outgoing, Provider, ProviderError, SendOutcome,
    http::{ASKING, Reply, SENDING, call, outcome_of, secret_header},
};
use crate::net::{Client, Limits, NetError};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The events that Bouncer listens to.
const EVENTS: [&str; 3] = ["message", "message.ack", "session.status"];

pub struct Waha {
    client: Client,
    sending: Limits,
}

/// `60123456789@c.us`
pub fn chat_id(to: &Recipient) -> String {
    format!("{}@c.us", to.digits())
}

/// The id under which WhatsApp shall know a message: 32 hexadecimal digits, as phones make them up.
pub fn chosen_id(message: MessageId) -> String {
    message.0.simple().encode_upper(&mut Uuid::encode_buffer()).to_owned()
}

/// Our message, if this is an id that we chose.
pub fn message_of(id: &str) -> Option<MessageId> {
    if id.len() != 32 || id.bytes().any(|b| b.is_ascii_lowercase()) {
        return None;
    }
    // A UUIDv7 has 6 bits that random ids rarely have right; that the message is this instance's is checked as well.
    Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7).map(MessageId)
}

/// WhatsApp's own id of a message in any of the shapes that WAHA's engines answer: `true_60123456789@c.us_3EB0…`,
/// `{"_serialized": …}`, `{"key": {"id": …}}`, or a list of such.
pub fn message_id(answer: &Value) -> Option<&str> {
    let answer = match answer {
        Value::Array(all) => all.first()?,
        one => one,
    };
    ["/id", "/id/_serialized", "/id/id", "/key/id", "/_data/id/_serialized", "/_data/id/id", "/_data/key/id"]
        .iter()
        .find_map(|pointer| answer.pointer(pointer).and_then(Value::as_str))
        .map(bare_id)
        .filter(|id| !id.is_empty())
}

/// The part of `true_60123456789@c.us_3EB0…` that WhatsApp itself knows: the chat before it may be written in several
/// ways, as a number or as a hidden id, and differs between an answer and its acknowledgement.
pub fn bare_id(id: &str) -> &str {
    match id.splitn(3, '_').collect::<Vec<_>>()[..] {
        ["true" | "false", _, rest] => rest.split('_').next().unwrap_or(rest),
        _ => id,
    }
}

/// What a session's word means. `None`: a word of a later version, which must not change anything.
pub fn status_of(word: &str) -> Option<Status> {
    match word {
        "WORKING" => Some(Status::Connected),
        "SCAN_QR_CODE" => Some(Status::ScanQr),
        "STARTING" | "PASSKEY_REQUIRED" | "PASSKEY_CONFIRMATION_REQUIRED" => Some(Status::Connecting),
        "STOPPED" => Some(Status::Disconnected),
        "FAILED" => Some(Status::Failed),
        _ => None,
    }
}

/// The number in `60123456789:12@c.us`.
pub fn phone_of(id: &str) -> Option<String> {
    let (user, server) = id.split_once('@')?;
    let digits = user.split(':').next().unwrap_or_default();
    let person = matches!(server, "c.us" | "s.whatsapp.net");
    (person && (5..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.to_owned())
}

impl Waha {
    pub fn new(client: Client) -> Self {
        Self::with_limits(client, SENDING)
    }

    /// As [`Waha::new`], with other limits for a send.
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
        let base = connection.settings.base_url().unwrap_or_default();
        let key = connection.credentials.get(Credential::ApiKey);
        let credential = key.map(|key| secret_header(API_KEY, key)).transpose()?;
        call(&self.client, method, &format!("{base}{path}"), credential, body, limits).await
    }

    /// As [`Waha::call`], for people: an error in words unless the status is one of the expected ones.
    async fn ask(
        &self,
        connection: &Connection,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, ProviderError> {
        let reply = self.call(connection, method, path, body, ASKING).await?;
        match reply.status {
            200..=299 | 404 => Ok(reply),
            401 | 403 => Err(ProviderError::Refused(format!("WAHA refused the API key: {}.", reply.words()))),
            400..=499 => Err(ProviderError::Refused(format!("WAHA refused it: {}.", reply.words()))),
            status => {
                Err(ProviderError::Unreachable(format!("WAHA answered with status {status}: {}.", reply.words())))
            }
        }
    }

    /// The session; `None` when WAHA has none of this name.
    async fn look(&self, connection: &Connection) -> Result<Option<Value>, ProviderError> {
        let waha = settings(connection)?;
        let reply = self.ask(connection, Method::GET, &format!("/api/sessions/{}", waha.session), None).await?;
        match reply.status {
            404 => Ok(None),
            _ => reply.json.filter(Value::is_object).map(Some).ok_or_else(no_sense),
        }
    }
}

fn settings(connection: &Connection) -> Result<&WahaSettings, ProviderError> {
    match &connection.settings {
        Settings::Waha(waha) => Ok(waha),
        _ => Err(ProviderError::NotOffered("This instance is not connected through WAHA.".into())),
    }
}

fn no_sense() -> ProviderError {
    ProviderError::Unreachable("The server's answer makes no sense. Is it a WAHA server?".into())
}

/// How a session stands, as WAHA describes it.
fn session_of(session: &Value) -> Session {
    let word = session["status"].as_str().unwrap_or_default();
    Session {
        // A word that is not known: neither lost nor ready.
        status: status_of(word).unwrap_or(Status::Connecting),
        detail: word.to_owned(),
        phone: session["me"]["id"].as_str().and_then(phone_of),
    }
}

/// Our webhook as WAHA shall call it.
fn webhook(hook_url: &str, secret: &str) -> Value {
    json!({
        "url": hook_url,
        "events": EVENTS,
        "hmac": { "key": secret },
        "retries": { "policy": "exponential", "delaySeconds": 2, "attempts": 15 },
    })
}

/// The session's configuration with our webhook in it, and everything else as it was; `None` when it is in it already.
fn with_webhook(config: &Value, ours: &Value) -> Option<Value> {
    let same = |hook: &Value| {
        let events = |hook: &Value| {
            let mut events: Vec<String> =
                hook["events"].as_array().into_iter().flatten().filter_map(|e| e.as_str().map(str::to_owned)).collect();
            events.sort();
            events
        };
        hook["url"] == ours["url"] && hook["hmac"]["key"] == ours["hmac"]["key"] && events(hook) == events(ours)
    };
    let hooks = config["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    if hooks.iter().any(same) {
        return None;
    }
    let mut kept: Vec<Value> = hooks.iter().filter(|hook| hook["url"] != ours["url"]).cloned().collect();
    kept.push(ours.clone());
    let mut config = config.as_object().cloned().unwrap_or_default();
    config.insert("webhooks".into(), kept.into());
    Some(config.into())
}

/// Whether an error is about the session, not about the message.
fn is_about_session(reply: &Reply) -> bool {
    let json = reply.json.as_ref();
    json.is_some_and(|json| json["session"].is_string() && json["status"].is_string())
        || reply.words().to_lowercase().contains("session")
}

/// What proxies and balancers say when they had nobody to hand a call to: Traefik, HAProxy, Envoy, and those that pass
/// on why they could not connect.
const NOBODY: [&str; 4] =
    ["no available server", "no server is available", "no healthy upstream", "connection refused"];

/// Whether a 502 or 503 says that the engine never saw the call: its session does not run, whoever stands before it had
/// nobody to hand it to, or it names the time when it takes calls again.
fn reached_nobody(reply: &Reply) -> bool {
    let text = reply.text.to_lowercase();
    is_about_session(reply) || NOBODY.iter().any(|words| text.contains(words)) || reply.retry_after_s().is_some()
}

#[async_trait]
impl Provider for Waha {
    async fn send(&self, connection: &Connection, message: &Outgoing) -> SendOutcome {
        let Settings::Waha(waha) = &connection.settings else {
            return SendOutcome::Failed { code: "misconfigured".into(), message: "This is no WAHA instance.".into() };
        };
        let (path, body) = match request::of(&waha.session, message) {
            Ok(request) => request,
            Err((code, message)) => return SendOutcome::Failed { code: code.into(), message },
        };
        match self.call(connection, Method::POST, path, Some(&body), self.sending).await {
            Ok(reply) => outcome(&reply),
            Err(error) => outcome_of(error),
        }
    }

    async fn find(&self, connection: &Connection, message: &Outgoing) -> Found {
        let Settings::Waha(waha) = &connection.settings else { return Found::CannotTell };
        if !request::takes_id(&message.body) {
            return Found::CannotTell;
        }
        let (chat, id) = (chat_id(&message.to), chosen_id(message.id));
        let path =
            format!("/api/{}/chats/{chat}/messages/true_{chat}_{id}?downloadMedia=false&merge=false", waha.session);
        let Ok(reply) = self.call(connection, Method::GET, &path, None, ASKING).await else { return Found::NotNow };
        match (reply.status, &reply.json) {
            (200, Some(Value::Object(_))) => match reply.json.as_ref().and_then(message_id) {
                Some(found) if found == id => Found::Sent { provider_message_id: id },
                _ => Found::CannotTell,
            },
            // Engines answer nothing, null or 404 for what they do not have.
            (200, Some(Value::Null)) => Found::NotThere,
            (200, None) if reply.text.is_empty() => Found::NotThere,
            (404, Some(_)) if !is_about_session(&reply) => Found::NotThere,
            // It is down, refuses us or has lost its session: it may tell later.
            (401 | 403 | 404 | 422 | 429 | 500.., _) => Found::NotNow,
            _ => Found::CannotTell,
        }
    }

    async fn connect(&self, connection: &Connection, hook_url: &str) -> Result<Session, ProviderError> {
        let waha = settings(connection)?;
        let secret = connection.credentials.get(Credential::HookSecret).unwrap_or_default();
        let ours = webhook(hook_url, secret);
        let path = format!("/api/sessions/{}", waha.session);
        let session = match self.look(connection).await? {
            None => {
                let new = json!({ "name": waha.session, "start": true, "config": { "webhooks": [ours] } });
                let reply = self.ask(connection, Method::POST, "/api/sessions", Some(&new)).await?;
                if reply.status == 404 {
                    return Err(no_sense());
                }
                reply.json.filter(|json| json["status"].is_string()).ok_or_else(no_sense)?
            }
            Some(session) => {
                // Putting a configuration restarts the session: only when it is another one.
                if let Some(config) = with_webhook(&session["config"], &ours) {
                    self.ask(connection, Method::PUT, &path, Some(&json!({ "config": config }))).await?;
                }
                match session["status"].as_str().unwrap_or_default() {
                    "STOPPED" => self.ask(connection, Method::POST, &format!("{path}/start"), None).await?,
                    "FAILED" => self.ask(connection, Method::POST, &format!("{path}/restart"), None).await?,
                    _ => return self.session(connection).await,
                };
                return self.session(connection).await;
            }
        };
        Ok(session_of(&session))
    }

    async fn disconnect(&self, connection: &Connection, log_out: bool) -> Result<(), ProviderError> {
        let waha = settings(connection)?;
        let act = if log_out { "logout" } else { "stop" };
        // A session that is not there is as disconnected as can be.
        self.ask(connection, Method::POST, &format!("/api/sessions/{}/{act}", waha.session), None).await.map(drop)
    }

    async fn session(&self, connection: &Connection) -> Result<Session, ProviderError> {
        Ok(match self.look(connection).await? {
            Some(session) if session["status"].is_string() => session_of(&session),
            Some(_) => return Err(no_sense()),
            None => {
                Session { status: Status::Disconnected, detail: "WAHA has no such session yet.".into(), phone: None }
            }
        })
    }

    async fn qr(&self, connection: &Connection) -> Result<String, ProviderError> {
        let waha = settings(connection)?;
        let reply =
            self.ask(connection, Method::GET, &format!("/api/{}/auth/qr?format=raw", waha.session), None).await?;
        if reply.status == 404 {
            return Err(ProviderError::Refused("WAHA has no such session yet. Connect first.".into()));
        }
        let value = reply.json.as_ref().and_then(|json| json["value"].as_str()).filter(|text| !text.is_empty());
        value.map(str::to_owned).ok_or_else(no_sense)
    }

    async fn templates(&self, _: &Connection) -> Result<Vec<Value>, ProviderError> {
        Err(ProviderError::NotOffered("WAHA has no templates: an ordinary account sends free text.".into()))
    }
}

/// What an answer to a send means.
fn outcome(reply: &Reply) -> SendOutcome {
    let words = reply.words();
    match reply.status {
        200 | 201 => match reply.json.as_ref().and_then(message_id) {
            Some(id) => SendOutcome::Sent { provider_message_id: id.to_owned() },
            None => SendOutcome::Unknown { message: "WAHA accepted it, but its answer names no message.".into() },
        },
        401 | 403 => SendOutcome::Disconnected {
            code: "unauthorized".into(),
            message: format!("WAHA refused the API key: {words}"),
        },
        404 => SendOutcome::Disconnected { code: "session_not_found".into(), message: words },
        422 if is_about_session(reply) => {
            SendOutcome::Disconnected { code: "session_not_working".into(), message: words }
        }
        429 => SendOutcome::Retry {
            code: "throttled".into(),
            message: words,
            after_s: reply.retry_after_s(),
            throttled: true,
        },
        502 | 503 if reached_nobody(reply) => SendOutcome::Retry {
            code: format!("http_{}", reply.status),
            message: words,
            after_s: reply.retry_after_s(),
            throttled: false,
        },
        // An engine that takes too long makes it a 500, also after it handed the message over; and a gateway may have
        // lost the answer.
        status @ 500..=599 => SendOutcome::Unknown { message: format!("WAHA answered with status {status}: {words}") },
        400..=499 => SendOutcome::Failed { code: format!("http_{}", reply.status), message: words },
        // Redirects are not followed, and nothing else says that it was sent.
        status => SendOutcome::Unknown { message: format!("WAHA answered with status {status}.") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_to_our_message() {
        let id = MessageId::new();
        let chosen = chosen_id(id);
        assert_eq!(chosen.len(), 32);
        assert_eq!(message_of(&chosen), Some(id));
        assert_eq!(message_of(bare_id(&format!("true_60123456789@c.us_{chosen}"))), Some(id));
        // The id of the documentation's example, a random one.
        for other in ["4CC5EDD64BC22EBA6D639F2AF571346C", "3EB0AAAA", "", &chosen.to_lowercase()] {
            assert_eq!(message_of(other), None, "{other}");
        }
    }

    #[test]
    fn finds_the_id_in_every_shape() {
        for answer in [
            json!({ "id": "true_60123456789@c.us_3EB0AA" }),
            json!({ "id": "3EB0AA" }),
            json!({ "id": { "fromMe": true, "_serialized": "true_1@c.us_3EB0AA" } }),
            json!({ "id": { "id": "3EB0AA" } }),
            json!({ "key": { "remoteJid": "1@s.whatsapp.net", "id": "3EB0AA" } }),
            json!({ "_data": { "id": { "_serialized": "true_1@lid_3EB0AA" } } }),
            json!({ "_data": { "key": { "id": "3EB0AA" } } }),
            json!({ "id": "true_123@g.us_3EB0AA_60123456789@c.us" }),
            json!([{ "id": "true_1@c.us_3EB0AA" }]),
        ] {
            assert_eq!(message_id(&answer), Some("3EB0AA"), "{answer}");
        }
        for nothing in
            [json!({}), json!(null), json!([]), json!({ "id": "" }), json!({ "id": 7 }), json!("true_1@c.us_X")]
        {
            assert_eq!(message_id(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn numbers_of_people_only() {
        assert_eq!(phone_of("60123456789@c.us").as_deref(), Some("60123456789"));
        assert_eq!(phone_of("60123456789:17@s.whatsapp.net").as_deref(), Some("60123456789"));
        for other in ["123@g.us", "123456789@lid", "abc@c.us", "60123456789", "@c.us", "1234567890123456@c.us"] {
            assert_eq!(phone_of(other), None, "{other}");
        }
    }

    #[test]
    fn our_webhook_joins_the_others_and_is_put_once() {
        let ours = webhook("https://b.example/hooks/waha/ins_1", "s");
        let other = json!({ "url": "https://other.example", "events": ["message"] });
        let config = json!({ "metadata": { "a": "b" }, "webhooks": [other] });
        let put = with_webhook(&config, &ours).unwrap();
        assert_eq!(put["metadata"]["a"], "b");
        assert_eq!(put["webhooks"], json!([other, ours]));
        assert_eq!(with_webhook(&put, &ours), None);
        // Another secret replaces it.
        let newer = webhook("https://b.example/hooks/waha/ins_1", "t");
        assert_eq!(with_webhook(&put, &newer).unwrap()["webhooks"], json!([other, newer]));
        assert_eq!(with_webhook(&Value::Null, &ours).unwrap(), json!({ "webhooks": [ours] }));
    }
}
