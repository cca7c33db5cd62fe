//! A WAHA server that writes down when it was asked to send what, and can be asked about it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use domain::ids::MessageId;
use http::StatusCode;
use serde_json::{Value, json};
use server::providers::waha;
use tokio::{net::TcpListener, task::JoinHandle};

type Entries = Arc<Mutex<HashMap<MessageId, Vec<Instant>>>>;

pub struct Journal {
    address: std::net::SocketAddr,
    entries: Entries,
    task: JoinHandle<()>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Answering {
    entries: Entries,
    delay: Duration,
}

impl Journal {
    /// It answers `delay` after it has written down: time in which a caller may die.
    pub async fn start(delay: Duration) -> Self {
        let entries = Entries::default();
        let router = Router::new()
            .route("/api/sendText", post(send))
            .route("/api/{session}/chats/{chat}/messages/{id}", get(find))
            .route("/api/sessions/{session}", get(session))
            .with_state(Answering { entries: entries.clone(), delay });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, entries, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// When each message came.
    pub fn times(&self) -> HashMap<MessageId, Vec<Instant>> {
        self.entries.lock().unwrap().clone()
    }
}

async fn send(State(state): State<Answering>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let id = body["id"].as_str().expect("Bouncer chooses the id");
    let message = waha::message_of(id).expect("an id that Bouncer chose");
    state.entries.lock().unwrap().entry(message).or_default().push(Instant::now());
    tokio::time::sleep(state.delay).await;
    let chat = body["chatId"].as_str().expect("a chat");
    (StatusCode::CREATED, Json(json!({ "id": format!("true_{chat}_{id}"), "ack": 0 })))
}

async fn find(
    State(state): State<Answering>,
    Path((_, chat, id)): Path<(String, String, String)>,
) -> (StatusCode, Json<Value>) {
    let known = waha::message_of(waha::bare_id(&id)).filter(|id| state.entries.lock().unwrap().contains_key(id));
    match known {
        Some(_) => (StatusCode::OK, Json(json!({ "id": id, "from": chat, "fromMe": true }))),
        None => (StatusCode::NOT_FOUND, Json(json!({ "statusCode": 404, "message": "Message not found" }))),
    }
}

async fn session(Path(session): Path<String>) -> Json<Value> {
    Json(json!({ "name": session, "status": "WORKING", "me": { "id": "60199999999@c.us" } }))
}
