//! Programs that send messages and do not give up.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use domain::ids::{InstanceId, MessageId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::bouncer::Key;

/// A call that is not answered within this is repeated.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Clients {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    stop: AtomicBool,
    calls: AtomicUsize,
    most: usize,
    accepted: Mutex<Vec<MessageId>>,
    refused: Mutex<Vec<u16>>,
    replayed: AtomicUsize,
}

/// What the clients did.
pub struct Done {
    /// Different calls: one message each.
    pub calls: usize,
    pub accepted: Vec<MessageId>,
    refused: Vec<u16>,
    /// Calls that had been done before they were repeated: the answer to them was lost.
    pub replayed: usize,
}

impl Done {
    /// Both together.
    pub fn and(self, other: &Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            accepted: self.accepted.iter().chain(&other.accepted).copied().collect(),
            refused: self.refused.iter().chain(&other.refused).copied().collect(),
            replayed: self.replayed + other.replayed,
        }
    }

    /// Answers that arrived whole.
    pub fn answered(&self) -> usize {
        self.accepted.len() + self.refused.len()
    }

    /// Answers that said that the server is at fault.
    pub fn refused_with_5xx(&self) -> usize {
        self.refused.iter().filter(|status| **status >= 500).count()
    }
}

fn http() -> reqwest::Client {
    // A second time, in another test of this process, it is there already.
    _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

/// The status of `/api/v1/me`.
pub async fn me(url: &str, key: &Key) -> u16 {
    let answer = http().get(format!("{url}/api/v1/me")).header("x-api-key", &key.text).send().await.unwrap();
    answer.status().as_u16()
}

/// The status of any address; `None`: nobody answers.
pub async fn status(url: &str) -> Option<u16> {
    Some(http().get(url).send().await.ok()?.status().as_u16())
}

impl Clients {
    /// Send until they are stopped.
    pub fn start(clients: usize, urls: Vec<String>, key: &Key, instance: InstanceId) -> Self {
        Self::of_number(clients, usize::MAX, urls, key, instance)
    }

    /// Send this many messages together.
    pub fn of_number(clients: usize, most: usize, urls: Vec<String>, key: &Key, instance: InstanceId) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            most,
            accepted: Mutex::default(),
            refused: Mutex::default(),
            replayed: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(client(shared.clone(), urls.clone(), key.clone(), instance));
        }
        Self { tasks, shared }
    }

    /// Each finishes the call that it is at.
    pub async fn stop(self) -> Done {
        self.shared.stop.store(true, Relaxed);
        self.all().await
    }

    /// Until all were sent.
    pub async fn all(mut self) -> Done {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        Done {
            calls: self.shared.calls.load(Relaxed).min(self.shared.most),
            accepted: std::mem::take(&mut *self.shared.accepted.lock().unwrap()),
            refused: std::mem::take(&mut *self.shared.refused.lock().unwrap()),
            replayed: self.shared.replayed.load(Relaxed),
        }
    }
}

async fn client(shared: Arc<Shared>, urls: Vec<String>, key: Key, instance: InstanceId) {
    let http = http();
    while !shared.stop.load(Relaxed) {
        let number = shared.calls.fetch_add(1, Relaxed);
        if number >= shared.most {
            return;
        }
        let body = message(instance, number);
        let once = Uuid::now_v7().to_string();
        let id = until_accepted(&shared, &http, &urls[number % urls.len()], &key, &once, &body).await;
        shared.accepted.lock().unwrap().push(id);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// What is sent; each number is another recipient.
fn message(instance: InstanceId, number: usize) -> Value {
    json!({ "instanceId": instance, "to": format!("+60{}", 100_000_000 + number), "message": "Hello" })
}

fn sending(http: &reqwest::Client, url: &str, key: &Key, body: &Value) -> reqwest::RequestBuilder {
    http.post(format!("{url}/api/v1/messages/send"))
        .header("authorization", format!("Bearer {}", key.text))
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// One message, sent once: the status of a whole answer.
pub async fn send_once(url: String, key: Key, instance: InstanceId) -> reqwest::Result<u16> {
    answered(sending(&http(), &url, &key, &message(instance, 0))).await
}

/// The key's messages, asked for once: the status of a whole answer.
pub async fn list_once(url: String, key: Key) -> reqwest::Result<u16> {
    answered(http().get(format!("{url}/api/v1/messages")).header("x-api-key", &key.text)).await
}

async fn answered(call: reqwest::RequestBuilder) -> reqwest::Result<u16> {
    let answer = call.send().await?;
    let status = answer.status().as_u16();
    answer.bytes().await?;
    Ok(status)
}

/// The same call again and again, until it is accepted.
async fn until_accepted(
    shared: &Shared,
    http: &reqwest::Client,
    url: &str,
    key: &Key,
    once: &str,
    body: &Value,
) -> MessageId {
    loop {
        let call = sending(http, url, key, body).header("idempotency-key", once);
        // An answer may be cut in the middle, too: then it is no answer.
        let answer = match call.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let replayed = answer.headers().contains_key("idempotent-replayed");
                answer.text().await.ok().map(|text| (status, replayed, text))
            }
            Err(_) => None,
        };
        match answer {
            Some((202, replayed, text)) => {
                shared.replayed.fetch_add(usize::from(replayed), Relaxed);
                let answer: Value = serde_json::from_str(&text).unwrap();
                return answer["id"].as_str().unwrap().parse().unwrap();
            }
            // Stopped or without a database, busy with the same call, or full.
            Some((status @ (409 | 429 | 500..), ..)) => shared.refused.lock().unwrap().push(status),
            Some((status, _, text)) => panic!("{status}: {text}"),
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
