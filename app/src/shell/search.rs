//! What the command palette finds. Server only.

use domain::{
    instances::overview::named,
    messages::MessageStatus,
    webhooks::overview::{Found, Subject, deliveries_of, with_url},
};

use super::palette::Hit;
use crate::{
    error::AppError,
    pages::developer::{
        api_keys::query::{KeysQuery, Panel as KeyPanel},
        integrations::query::{IntegrationsQuery, Panel},
    },
    session::{Current, now},
};

/// Hits of each kind, so that none crowds the others out.
const EACH: usize = 4;
const LIMIT: i64 = EACH as i64;
/// Problem codes are only looked for by words of so many letters: each has an "e" in it.
const WORD: usize = 3;

/// What an id names, or else what is named so. A foreign id is as unknown as a mistyped one.
pub async fn find(me: &Current, q: &str) -> Result<Vec<Hit>, AppError> {
    let q: String = q.trim().chars().take(100).collect();
    match by_id(me, &q).await {
        Err(domain::Error::NotFound) => Ok(vec![]),
        Err(error) => Err(error.into()),
        Ok(Some(hits)) => Ok(hits),
        Ok(None) => by_text(me, &q).await,
    }
}

/// `None`: this is no id of something that has a page.
async fn by_id(me: &Current, q: &str) -> domain::Result<Option<Vec<Hit>>> {
    let (db, organization) = (me.db(), me.organization());
    let hits = if let Ok(id) = q.parse() {
        let row = domain::keys::store::get(db, organization, id, now()).await?;
        vec![key(id, row.key.name, format!("{} · {}", row.key.hint, row.status.label))]
    } else if let Ok(id) = q.parse() {
        let row = domain::instances::store::get(db, organization, id).await?;
        vec![integration(Panel::Instance(id), row.instance.name, "Instance")]
    } else if let Ok(id) = q.parse() {
        let endpoint = domain::webhooks::store::get(db, organization, None, id).await?;
        vec![integration(Panel::Endpoint(id), endpoint.url, "Webhook endpoint")]
    } else if let Ok(id) = q.parse() {
        let row = domain::webhooks::deliveries::get(db, organization, None, id).await?.row;
        vec![delivery(Found { id, kind: row.kind, url: row.endpoint_url })]
    } else if let Ok(id) = q.parse() {
        told(me, Subject::Event(id)).await?
    } else if let Ok(id) = q.parse() {
        let (message, _) = domain::messages::store::get(db, organization, None, id).await?;
        let mut hits = told(me, Subject::Message(id)).await?;
        // While it waits, it stands in the queue of its instance.
        if matches!(message.status, MessageStatus::Queued | MessageStatus::Sending) {
            let label = format!("Message, {}", message.status.as_str());
            hits.insert(0, integration(Panel::Instance(message.instance), label, "Queue of its instance"));
        }
        hits
    } else {
        return Ok(None);
    };
    Ok(Some(hits))
}

async fn by_text(me: &Current, q: &str) -> Result<Vec<Hit>, AppError> {
    let (db, organization) = (me.db(), me.organization());
    let keys = domain::keys::store::find_named(db, organization, q).await?;
    let mut hits: Vec<_> = keys.into_iter().map(|(id, name, hint)| key(id, name, hint)).collect();
    let instances = named(db, organization, q, LIMIT).await?;
    hits.extend(instances.into_iter().map(|(id, name)| integration(Panel::Instance(id), name, "Instance")));
    let endpoints = with_url(db, organization, q, LIMIT).await?;
    hits.extend(endpoints.into_iter().map(|(id, url)| integration(Panel::Endpoint(id), url, "Webhook endpoint")));
    if q.chars().count() >= WORD {
        let q = q.to_lowercase();
        let problems = me.state.settings.problems.iter();
        let found = problems.filter(|(code, title)| code.contains(&q) || title.to_lowercase().contains(&q));
        hits.extend(found.take(EACH).map(|(code, title)| Hit {
            label: (*code).to_owned(),
            hint: format!("Error of the API: {title}"),
            href: format!("/api/v1/problems/{code}"),
        }));
    }
    Ok(hits)
}

async fn told(me: &Current, subject: Subject) -> domain::Result<Vec<Hit>> {
    let found = deliveries_of(me.db(), me.organization(), subject, LIMIT).await?;
    Ok(found.into_iter().map(delivery).collect())
}

fn key(id: domain::ids::KeyId, label: String, hint: String) -> Hit {
    Hit { label, hint, href: KeysQuery::default().with(KeyPanel::Usage(id)).href() }
}

fn integration(panel: Panel, label: String, hint: &str) -> Hit {
    Hit { label, hint: hint.to_owned(), href: IntegrationsQuery::default().with(panel).href() }
}

fn delivery(found: Found) -> Hit {
    integration(Panel::Delivery(found.id), found.kind, &format!("Delivery to {}", found.url))
}
