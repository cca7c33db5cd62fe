//! Providers that speak their published documents, on the loopback.
//!
//! [`Waha`] answers from `fixtures/waha/openapi-part.json`: what is not in it is not there, and a body that breaks its
//! schema is refused and remembered. [`Graph`] answers as Meta's documents describe. [`faulty`] answers with whatever
//! bytes a test wants, or none.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A call that came.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// Ends with its owner.
pub struct Served {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(router: Router) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { address, task }
}

/// Does with each connection what the test says, after the head and body of a request were read (or not).
pub async fn faulty<F>(act: impl Fn(TcpStream) -> F + Send + 'static) -> Served
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(stream));
        }
    });
    Served { address, task }
}

/// Reads one whole request.
pub async fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if bytes.len() >= head + 4 + length {
                return bytes;
            }
        }
        match stream.read(&mut buffer).await.unwrap() {
            0 => return bytes,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Reads the request, writes these bytes, and closes.
pub async fn answering(answer: &'static str) -> Served {
    faulty(move |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        _ = stream.shutdown().await;
    })
    .await
}

// ── WAHA ──────────────────────────────────────────────────────────────────────────────────────────────────────────

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/waha/openapi-part.json")).unwrap());

#[derive(Clone)]
pub struct Waha {
    pub served: Arc<Served>,
    inner: Arc<Mutex<WahaInner>>,
}

/// Status, headers and body of an answer.
type Planned = (StatusCode, Vec<(&'static str, String)>, String);

struct WahaInner {
    key: Option<String>,
    sessions: BTreeMap<String, Value>,
    calls: Vec<Call>,
    /// What broke the document.
    violations: Vec<String>,
    /// Answers to the next sends, before the usual ones.
    planned: VecDeque<Planned>,
    /// Messages by their whole id.
    messages: BTreeMap<String, Value>,
    /// Keeps a message but answers with this error.
    lose_answers: Option<StatusCode>,
}

impl Waha {
    pub async fn new(key: Option<&str>) -> Self {
        let inner = Arc::new(Mutex::new(WahaInner {
            key: key.map(str::to_owned),
            sessions: BTreeMap::new(),
            calls: vec![],
            violations: vec![],
            planned: VecDeque::new(),
            messages: BTreeMap::new(),
            lose_answers: None,
        }));
        let served = serve(Router::new().fallback(waha).with_state(inner.clone())).await;
        Self { served: Arc::new(served), inner }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.served.address)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, WahaInner> {
        self.inner.lock().unwrap()
    }

    pub fn session(&self, name: &str, status: &str, config: Value) {
        let session = json!({ "name": name, "status": status, "config": config, "presence": {}, "timestamps": { "activity": null } });
        self.inner().sessions.insert(name.into(), session);
    }

    pub fn set_status(&self, name: &str, status: &str) {
        self.inner().sessions.get_mut(name).unwrap()["status"] = status.into();
    }

    /// The session of this name is a number.
    pub fn scanned(&self, name: &str, number: &str) {
        let mut inner = self.inner();
        let session = inner.sessions.get_mut(name).unwrap();
        session["status"] = "WORKING".into();
        session["me"] = json!({ "id": format!("{number}@c.us"), "pushName": "Shop" });
    }

    pub fn get_session(&self, name: &str) -> Option<Value> {
        self.inner().sessions.get(name).cloned()
    }

    pub fn plan(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.inner().planned.push_back((StatusCode::from_u16(status).unwrap(), headers, body.into()));
    }

    /// Messages are kept from now on, and answered with this status.
    pub fn lose_answers(&self, status: u16) {
        self.inner().lose_answers = Some(StatusCode::from_u16(status).unwrap());
    }

    /// The calls that came since the last time, which all kept to the document.
    pub fn calls(&self) -> Vec<Call> {
        let mut inner = self.inner();
        assert_eq!(inner.violations, Vec::<String>::new());
        std::mem::take(&mut inner.calls)
    }
}

async fn waha(
    State(inner): State<Arc<Mutex<WahaInner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = inner.lock().unwrap();
    let path = uri.path().to_owned();
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    inner.calls.push(Call {
        method: method.clone(),
        path: path.clone(),
        query: uri.query().unwrap_or_default().into(),
        headers: headers.clone(),
        body: body.clone(),
    });
    let Some((template, operation)) = operation(&method, &path) else {
        let message = format!("Cannot {method} {path}");
        inner.violations.push(message.clone());
        return answer(404, json!({ "message": message, "error": "Not Found", "statusCode": 404 }));
    };
    if inner.key.is_some() && headers.get("x-api-key").and_then(|key| key.to_str().ok()) != inner.key.as_deref() {
        return answer(401, json!({ "message": "Unauthorized", "statusCode": 401 }));
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !schema.is_null() {
        let mut errors = vec![];
        validate(schema, &body, "body", &mut errors);
        if !errors.is_empty() {
            inner.violations.extend(errors.iter().map(|error| format!("{method} {path}: {error}")));
            return answer(422, json!({ "message": errors, "error": "Unprocessable Entity", "statusCode": 422 }));
        }
    }
    inner.act(&method, template, &path, &body)
}

fn answer(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

/// The operation of a path, and its template.
fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        wanted.len() == parts.len()
            && wanted.iter().zip(&parts).all(|(want, have)| want == have || want.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A path without parameters is meant first.
    let mut fitting: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
    fitting.sort_by_key(|(template, _)| template.matches('{').count());
    fitting.into_iter().find_map(|(template, item)| {
        item.get(method.as_str().to_lowercase()).map(|operation| (template.as_str(), operation))
    })
}

impl WahaInner {
    fn act(&mut self, method: &Method, template: &str, path: &str, body: &Value) -> Response {
        if let Some(sent) = template.strip_prefix("/api/send") {
            return self.send(sent, body);
        }
        let parts: Vec<&str> = path.split('/').collect();
        let missing = |name: &str| {
            answer(
                404,
                json!({ "message": format!("Session \"{name}\" does not exist"), "error": "Not Found", "statusCode": 404 }),
            )
        };
        match (method.as_str(), template) {
            ("POST", "/api/sessions") => {
                let name = body["name"].as_str().unwrap_or("default").to_owned();
                if self.sessions.contains_key(&name) {
                    return answer(
                        422,
                        json!({ "message": format!("Session '{name}' already exists. Use PUT to update it."), "statusCode": 422 }),
                    );
                }
                let session = json!({ "name": name, "status": "STARTING", "config": body["config"], "presence": {}, "timestamps": { "activity": null } });
                self.sessions.insert(name, session.clone());
                answer(201, session)
            }
            (
                _,
                "/api/sessions/{session}"
                | "/api/sessions/{session}/start"
                | "/api/sessions/{session}/stop"
                | "/api/sessions/{session}/restart"
                | "/api/sessions/{session}/logout",
            ) => {
                let Some(session) = self.sessions.get_mut(parts[3]) else { return missing(parts[3]) };
                match (method.as_str(), parts.get(4).copied()) {
                    ("PUT", _) => session["config"] = body["config"].clone(),
                    ("POST", Some("start" | "restart")) => session["status"] = "SCAN_QR_CODE".into(),
                    ("POST", Some("stop")) => session["status"] = "STOPPED".into(),
                    ("POST", Some("logout")) => {
                        session["status"] = "STOPPED".into();
                        session["me"] = Value::Null;
                    }
                    _ => {}
                }
                answer(if method == Method::POST { 201 } else { 200 }, session.clone())
            }
            (_, "/api/{session}/auth/qr") => match self.sessions.get(parts[2]) {
                None => missing(parts[2]),
                Some(session) if session["status"] == "SCAN_QR_CODE" => {
                    answer(200, json!({ "value": "2@abc,def,ghi==" }))
                }
                Some(session) => not_working(session, "SCAN_QR_CODE"),
            },
            (_, "/api/{session}/chats/{chatId}/messages/{messageId}") => match self.messages.get(parts[6]) {
                Some(message) => answer(200, message.clone()),
                None if !self.sessions.contains_key(parts[2]) => missing(parts[2]),
                None => answer(404, json!({ "message": "Message not found", "error": "Not Found", "statusCode": 404 })),
            },
            other => panic!("the mock does not know {other:?}"),
        }
    }

    fn send(&mut self, kind: &str, body: &Value) -> Response {
        if let Some((status, headers, text)) = self.planned.pop_front() {
            let mut response = (status, text).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            return response;
        }
        let session = body["session"].as_str().unwrap();
        match self.sessions.get(session) {
            None => {
                return answer(
                    404,
                    json!({ "message": format!("Session \"{session}\" does not exist"), "error": "Not Found", "statusCode": 404 }),
                );
            }
            Some(session) if session["status"] != "WORKING" => return not_working(session, "WORKING"),
            Some(_) => {}
        }
        let chat = body["chatId"].as_str().unwrap();
        let tail = body["id"].as_str().map_or_else(|| format!("3EB0{:018X}", self.messages.len() + 1), str::to_owned);
        let id = format!("true_{chat}_{tail}");
        let message = json!({
            "id": id, "timestamp": 1_666_943_582, "from": "60111111111@c.us", "fromMe": true, "to": chat, "body": body["text"],
            "hasMedia": kind == "Image", "ack": 0, "ackName": "PENDING", "_data": {},
        });
        self.messages.insert(id, message.clone());
        if let Some(status) = self.lose_answers {
            return (status, "<html>Error</html>").into_response();
        }
        // Engines differ where the document says only `object`.
        match kind {
            "Text" => answer(201, message),
            _ => answer(201, json!({ "key": { "remoteJid": chat, "fromMe": true, "id": tail }, "status": "PENDING" })),
        }
    }
}

fn not_working(session: &Value, expected: &str) -> Response {
    answer(
        422,
        json!({
            "error": "Session status is not as expected. Try again later or restart the session",
            "session": session["name"], "status": session["status"], "expected": [expected],
        }),
    )
}

/// What of JSON Schema the document uses.
fn validate(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return validate(&DOCUMENT["components"]["schemas"][name], value, path, errors);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        validate(part, value, path, errors);
    }
    if let Some(parts) = schema["oneOf"].as_array() {
        let fitting = parts.iter().filter(|part| {
            let mut errors = vec![];
            validate(part, value, path, &mut errors);
            errors.is_empty()
        });
        if fitting.count() == 0 {
            errors.push(format!("{path} fits none of the alternatives: {value}"));
        }
    }
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    // The document says object where it means a text: `WebhookConfig.events`, and fields whose default is one.
    let texts_meant = value.is_string() && (path.ends_with(".events[]") || schema["default"].is_string());
    if !right && !texts_meant {
        errors.push(format!("{path} should be {}: {value}", schema["type"]));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        errors.push(format!("{path} should be one of {words:?}: {value}"));
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(required) {
                errors.push(format!("{path}.{required} is missing"));
            }
        }
        for (name, value) in fields {
            match properties.get(name) {
                Some(schema) => validate(schema, value, &format!("{path}.{name}"), errors),
                None => errors.push(format!("{path}.{name} is not in the document")),
            }
        }
    }
    if let Some(items) = value.as_array() {
        for item in items {
            validate(&schema["items"], item, &format!("{path}[]"), errors);
        }
    }
}

// ── Meta ──────────────────────────────────────────────────────────────────────────────────────────────────────────

pub const TOKEN: &str = "EAAJB-token-for-tests";
pub const NUMBER: &str = "106540352242922";
pub const ACCOUNT: &str = "102290129340398";

#[derive(Clone)]
pub struct Graph {
    pub served: Arc<Served>,
    inner: Arc<Mutex<GraphInner>>,
}

#[derive(Default)]
struct GraphInner {
    calls: Vec<Call>,
    planned: VecDeque<Planned>,
    templates: Vec<Value>,
    sent: usize,
    refuse_hooks: bool,
    refuse_templates: bool,
}

impl Graph {
    pub async fn new() -> Self {
        let inner = Arc::<Mutex<GraphInner>>::default();
        let served = serve(Router::new().fallback(graph).with_state(inner.clone())).await;
        Self { served: Arc::new(served), inner }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.served.address)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, GraphInner> {
        self.inner.lock().unwrap()
    }

    pub fn plan(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.inner().planned.push_back((StatusCode::from_u16(status).unwrap(), headers, body.into()));
    }

    pub fn templates(&self, templates: Vec<Value>) {
        self.inner().templates = templates;
    }

    /// Meta cannot reach our webhook.
    pub fn refuse_hooks(&self) {
        self.inner().refuse_hooks = true;
    }

    /// The access token may send, but not read templates.
    pub fn refuse_templates(&self, refuse: bool) {
        self.inner().refuse_templates = refuse;
    }

    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.inner().calls)
    }
}

async fn graph(
    State(inner): State<Arc<Mutex<GraphInner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = inner.lock().unwrap();
    let query = uri.query().unwrap_or_default().to_owned();
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    inner.calls.push(Call {
        method: method.clone(),
        path: uri.path().into(),
        query: query.clone(),
        headers: headers.clone(),
        body: body.clone(),
    });
    let error = |status: u16, code: i64, message: &str| {
        answer(
            status,
            json!({ "error": { "message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A1" } }),
        )
    };
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
        return error(401, 190, "Invalid OAuth access token - Cannot parse access token");
    }
    let parts: Vec<&str> = uri.path().split('/').collect();
    match (method.as_str(), &parts[1..]) {
        ("POST", ["v24.0", NUMBER, "messages"]) => {
            if let Some((status, headers, text)) = inner.planned.pop_front() {
                let mut response = (status, text).into_response();
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                return response;
            }
            inner.sent += 1;
            let kind = body["type"].as_str().unwrap_or_default();
            if body["messaging_product"] != "whatsapp" || !body[kind].is_object() && !body[kind].is_array() {
                return error(400, 100, "(#100) Invalid parameter");
            }
            answer(
                200,
                json!({
                    "messaging_product": "whatsapp",
                    "contacts": [{ "input": body["to"], "wa_id": body["to"] }],
                    "messages": [{ "id": format!("wamid.{:04}", inner.sent), "message_status": "accepted" }],
                }),
            )
        }
        ("GET", ["v24.0", NUMBER]) => answer(
            200,
            json!({ "id": NUMBER, "display_phone_number": "+1 631-555-5555", "verified_name": "Jasper's Market", "status": "CONNECTED" }),
        ),
        ("POST", ["v24.0", NUMBER] | ["v24.0", ACCOUNT, "subscribed_apps"]) if inner.refuse_hooks => {
            error(400, 2200, "(#2200) Callback verification failed with the following errors: HTTP Status Code = 404")
        }
        ("POST", ["v24.0", NUMBER] | ["v24.0", ACCOUNT, "subscribed_apps"]) => answer(200, json!({ "success": true })),
        ("GET", ["v24.0", ACCOUNT, "message_templates"]) if inner.refuse_templates => {
            error(403, 200, "(#200) You do not have the necessary permissions")
        }
        ("GET", ["v24.0", ACCOUNT, "message_templates"]) => {
            // Pages of five, with a cursor that needs escaping.
            let after = query.split('&').find_map(|pair| pair.strip_prefix("after=")).unwrap_or("c%3D0");
            let start: usize = after.strip_prefix("c%3D").unwrap().parse().unwrap();
            let end = (start + 5).min(inner.templates.len());
            let mut page = json!({
                "data": inner.templates[start..end],
                "paging": { "cursors": { "before": "c=0", "after": format!("c={end}") } },
            });
            if end < inner.templates.len() {
                page["paging"]["next"] =
                    format!("https://evil.example/steal?access_token={TOKEN}&after=c={end}").into();
            }
            answer(200, page)
        }
        _ => error(400, 100, "Unsupported request. Object does not exist, or missing permissions"),
    }
}
