//! Loads what the lists, dialogs and sheets show, in words. Server only.

use domain::{
    ids::{DeliveryId, EndpointId, InstanceId},
    instances::{
        self, Instance, InstanceRow, Paused, PausedBy, QueueState, Settings, Status,
        overview::{LastFailure, last_failures},
    },
    messages::queue::{self, Queue},
    time::{self, Time},
    webhooks::{
        self, Attempt, Delivery, DeliveryFilter, DeliveryRow, Endpoint,
        overview::{Glance, glances},
    },
};

use super::{
    data::{
        AttemptView, ConnectPage, DeliveryDetail, DeliveryLine, EndpointDetail, EndpointFormPage, EndpointLine,
        FailureLine, HealthKind, InstanceDetail, InstanceFormPage, InstanceLine, ListPage, PanelPage, PausedLine,
        QueueView, WaitingLine,
    },
    input::{InstanceInput, field_of},
    mask::{masked, masked_text},
    plain,
    query::{ListAt, Panel},
    words::environment_label,
};
use crate::{
    error::AppError,
    pages::developer::api_keys::context::counted,
    session::{Current, no_store, now},
};

/// Rows of a list that are shown at once.
const PER_PAGE: usize = 25;
/// Deliveries that the sheet of an endpoint shows.
const LATEST: i64 = 10;
/// Of payloads and answers, characters are shown up to this.
const SHOWN: usize = 20_000;

pub async fn list(me: &Current, at: ListAt) -> Result<ListPage, AppError> {
    let (db, organization) = (me.db(), me.organization());
    // One more than is shown tells whether there is more.
    let limit = PER_PAGE + 1;
    let mut instances =
        instances::store::list(db, organization, at.instances, None, u32::try_from(limit).unwrap_or(u32::MAX)).await?;
    let more_instances = instances.len() > PER_PAGE;
    instances.truncate(PER_PAGE);
    let mut endpoints =
        webhooks::store::list(db, organization, None, at.endpoints, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let more_endpoints = endpoints.len() > PER_PAGE;
    endpoints.truncate(PER_PAGE);
    let ids: Vec<_> = instances.iter().map(|row| row.instance.id).collect();
    let mut failures = if ids.is_empty() { Default::default() } else { last_failures(db, organization, &ids).await? };
    let ids: Vec<_> = endpoints.iter().map(|endpoint| endpoint.id).collect();
    let glances = if ids.is_empty() { Default::default() } else { glances(db, organization, &ids).await? };
    let now = now();
    let open = may_see_numbers(me);
    Ok(ListPage {
        next_instances: instances.last().filter(|_| more_instances).map(|row| row.instance.id),
        next_endpoints: endpoints.last().filter(|_| more_endpoints).map(|endpoint| endpoint.id),
        instances: instances
            .into_iter()
            .map(|row| {
                let failure = failures.remove(&row.instance.id);
                instance_line(row, failure, open, now)
            })
            .collect(),
        endpoints: endpoints
            .into_iter()
            .map(|endpoint| {
                let glance = glances.get(&endpoint.id).copied().unwrap_or_default();
                endpoint_line(endpoint, glance, now)
            })
            .collect(),
        now,
        may_manage: me.viewer.role.may_manage_keys(),
        problem: plain::take_problem().await?,
    })
}

/// Viewers see numbers masked (PRODUCT, section 9).
fn may_see_numbers(me: &Current) -> bool {
    me.viewer.role.may_manage_keys()
}

fn number(digits: &str, open: bool) -> String {
    if open { format!("+{digits}") } else { format!("+{}", masked(digits)) }
}

fn instance_line(row: InstanceRow, failure: Option<LastFailure>, open: bool, now: Time) -> InstanceLine {
    let InstanceRow { instance, queue } = row;
    let words = |text: &str| if open { text.to_owned() } else { masked_text(text) };
    InstanceLine {
        provider: instance.provider(),
        number: instance.phone.as_deref().map(|digits| number(digits, open)),
        status_reason: words(&status_reason(&instance, now)),
        status: instance.status,
        id: instance.id,
        name: instance.name,
        waiting: queue.waiting,
        next: queue.next_due.filter(|_| queue.waiting > 0 && queue.paused.is_none()),
        paused: paused_line(&queue),
        last_failure: failure.map(|failure| FailureLine {
            at: failure.at,
            words: words(&match failure.code.as_str() {
                "" => failure.text,
                code => format!("{code}: {}", failure.text),
            }),
        }),
    }
}

/// The provider's own words, and since when it has been so.
fn status_reason(instance: &Instance, now: Time) -> String {
    let since = time::relative(instance.status_at, now);
    match (instance.status_detail.as_str(), &instance.settings) {
        ("", Settings::Sandbox) => "The sandbox is always connected; nothing leaves it.".into(),
        ("", _) => format!("{} · {since}", instance.status.label()),
        (detail, _) => format!("{detail} · {since}"),
    }
}

fn paused_line(queue: &QueueState) -> Option<PausedLine> {
    queue.paused.as_ref().map(paused)
}

fn paused(paused: &Paused) -> PausedLine {
    let why = match paused.by {
        PausedBy::Person => "by hand",
        PausedBy::Failures => "after failures",
        PausedBy::Session => "while not connected",
    };
    PausedLine { why: why.to_owned(), reason: paused.reason.clone(), at: paused.at }
}

pub async fn instance(me: &Current, id: InstanceId) -> Result<InstanceDetail, AppError> {
    let (db, organization) = (me.db(), me.organization());
    let row = instances::store::get(db, organization, id).await?;
    let failure = last_failures(db, organization, &[id]).await?.remove(&id);
    let queue = {
        let mut tx = db.tenant(organization).await?;
        queue::queue(&mut tx, organization, id).await?
    };
    let now = now();
    let open = may_see_numbers(me);
    let instance = row.instance.clone();
    let line = instance_line(row, failure, open, now);
    Ok(InstanceDetail {
        settings: settings(&instance),
        credentials: instance.credentials.iter().map(|credential| credential.label().to_owned()).collect(),
        hook_url: me.state.outside.hook_url(id, instance.provider()),
        queue: queue_view(queue, line.paused.clone(), open, now),
        call: call(&me.state.settings.public_url, id),
        created_at: instance.created_at,
        created_by: instance.created_by_name,
        line,
        now,
        may_manage: me.viewer.role.may_manage_keys(),
        problem: plain::take_panel_problem().await?,
    })
}

fn settings(instance: &Instance) -> Vec<(String, String)> {
    let pairs = match &instance.settings {
        Settings::Sandbox => vec![],
        Settings::Waha(waha) => vec![("Server", waha.base_url.clone()), ("Session", waha.session.clone())],
        Settings::CloudApi(cloud) => vec![
            ("Server", cloud.base_url.clone()),
            ("Graph API", cloud.version.clone()),
            ("Phone number id", cloud.phone_number_id.clone()),
            ("Business account id", cloud.business_account_id.clone()),
        ],
    };
    pairs.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

/// The number is one of those whose fate the sandbox knows (PRODUCT, section 7).
fn call(public_url: &str, id: InstanceId) -> String {
    format!(
        "curl {public_url}/api/v1/messages/send \\\n  -H \"Authorization: Bearer YOUR_KEY\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{{\"instanceId\":\"{id}\",\"to\":\"+15550000001\",\"message\":\"Hello\"}}'"
    )
}

fn queue_view(queue: Queue, paused: Option<PausedLine>, open: bool, now: Time) -> QueueView {
    let expected = |due: Time| match &paused {
        Some(_) => "when the queue goes on".to_owned(),
        None if due <= now => "now".to_owned(),
        None => time::relative(due, now),
    };
    QueueView {
        waiting: queue.waiting,
        sending: queue.sending,
        unknown: queue.unknown,
        last: queue.last_at.filter(|at| paused.is_none() && *at > now),
        failures_in_a_row: i64::from(queue.failures_in_a_row),
        head: queue
            .head
            .into_iter()
            .map(|waiting| WaitingLine {
                id: waiting.id,
                to: number(&waiting.to, open),
                expected: expected(waiting.due),
                exact: time::exact(waiting.due),
                attempts: waiting.attempt,
            })
            .collect(),
        paused,
    }
}

/// How a connection stands: asked of the provider while something may change.
pub async fn connection(me: &Current, id: InstanceId) -> Result<ConnectPage, AppError> {
    let (db, organization) = (me.db(), me.organization());
    let (outside, actor) = (&me.state.outside, me.actor());
    let mut row = instances::store::get(db, organization, id).await?;
    let mut problem = None;
    if matches!(row.instance.status, Status::Connecting | Status::ScanQr) {
        match outside.look(&actor, id).await {
            Ok(_) => row = instances::store::get(db, organization, id).await?,
            Err(domain::Error::Conflict(why)) => problem = Some(why),
            Err(error) => return Err(error.into()),
        }
    }
    let mut qr = None;
    if row.instance.status == Status::ScanQr && problem.is_none() {
        match outside.qr(&actor, id).await {
            Ok(picture) => qr = Some(picture),
            Err(domain::Error::Conflict(why)) => problem = Some(why),
            Err(error) => return Err(error.into()),
        }
    }
    let hook_url = outside.hook_url(id, row.instance.provider());
    Ok(ConnectPage { line: instance_line(row, None, true, now()), qr, problem, hook_url, verify_token: None })
}

pub async fn endpoint(me: &Current, id: EndpointId) -> Result<EndpointDetail, AppError> {
    let (db, organization) = (me.db(), me.organization());
    let endpoint = webhooks::store::get(db, organization, None, id).await?;
    let health = webhooks::store::health(db, organization, None, id).await?;
    let filter = DeliveryFilter { endpoint: Some(id), ..DeliveryFilter::default() };
    let deliveries = webhooks::deliveries::page(db, organization, &filter, None, LATEST).await?;
    let now = now();
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let glance = Glance {
        succeeded: signed(health.succeeded),
        failed: signed(health.failed),
        pending: i64::from(health.pending),
    };
    Ok(EndpointDetail {
        facts: endpoint_facts(&endpoint),
        p50_ms: health.p50_ms,
        p95_ms: health.p95_ms,
        never_attempted: i64::from(health.never_attempted),
        old_secret_ends_at: endpoint.old_secret_ends_at,
        deliveries: deliveries.into_iter().map(delivery_line).collect(),
        created_at: endpoint.created_at,
        created_by: endpoint.created_by.clone(),
        line: endpoint_line(endpoint, glance, now),
        now,
        may_manage: me.viewer.role.may_manage_keys(),
        problem: plain::take_panel_problem().await?,
    })
}

fn events(events: &[String]) -> String {
    if events.iter().any(|event| event == "*") { "all".to_owned() } else { events.join(", ") }
}

fn endpoint_facts(endpoint: &Endpoint) -> Vec<(String, String)> {
    let rate = endpoint.rate_limit.map_or_else(
        || "no limit".to_owned(),
        |n| format!("{} a second", counted(i64::from(n), "request", "requests")),
    );
    let headers = if endpoint.header_names.is_empty() { "none".to_owned() } else { endpoint.header_names.join(", ") };
    vec![
        ("Events".to_owned(), events(&endpoint.events)),
        ("Environment".to_owned(), environment_label(endpoint.environment).to_owned()),
        ("Custom headers".to_owned(), headers),
        ("At once".to_owned(), counted(i64::from(endpoint.concurrency), "request", "requests")),
        ("Rate".to_owned(), rate),
    ]
}

fn endpoint_line(endpoint: Endpoint, glance: Glance, now: Time) -> EndpointLine {
    let (health, health_reason) = endpoint_health(&endpoint, now);
    EndpointLine {
        id: endpoint.id,
        url: endpoint.url,
        description: endpoint.description,
        events: endpoint.events,
        environment: endpoint.environment,
        health,
        health_reason,
        disabled: endpoint.disabled.is_some(),
        last_attempt: endpoint.last_attempt_at,
        succeeded: glance.succeeded,
        failed: glance.failed,
        pending: glance.pending,
    }
}

fn endpoint_health(endpoint: &Endpoint, now: Time) -> (HealthKind, String) {
    if let Some(disabled) = endpoint.disabled {
        let when = time::relative(disabled.at, now);
        return (HealthKind::Disabled, format!("Disabled {when}. {}", disabled.by.sentence()));
    }
    if let Some(since) = endpoint.failing_since {
        let why = if endpoint.last_error.is_empty() { "Every attempt fails." } else { &endpoint.last_error };
        return (HealthKind::Failing, format!("Failing since {}. {why}", time::exact(since)));
    }
    match endpoint.last_success_at {
        Some(at) => (HealthKind::Healthy, format!("Last delivered {}.", time::relative(at, now))),
        None => (HealthKind::New, "Nothing was delivered yet.".into()),
    }
}

fn delivery_line(row: DeliveryRow) -> DeliveryLine {
    DeliveryLine {
        id: row.id,
        kind: row.kind,
        status: row.status,
        code: row.last_status,
        attempts: row.attempts,
        at: row.created_at,
        next: row.next_attempt_at,
    }
}

pub async fn delivery(me: &Current, id: DeliveryId) -> Result<DeliveryDetail, AppError> {
    let Delivery { row, payload, attempts, .. } =
        webhooks::deliveries::get(me.db(), me.organization(), None, id).await?;
    let open = may_see_numbers(me);
    let text = |text: String| {
        let shown = if text.chars().count() > SHOWN {
            format!("{}\n…", text.chars().take(SHOWN).collect::<String>())
        } else {
            text
        };
        if open { shown } else { masked_text(&shown) }
    };
    let payload = serde_json::to_string_pretty(&payload).unwrap_or_default();
    Ok(DeliveryDetail {
        endpoint: row.endpoint_id,
        url: row.endpoint_url.clone(),
        event: row.event_id.to_string(),
        line: delivery_line(row),
        payload: text(payload),
        attempts: attempts.into_iter().rev().map(|attempt| attempt_view(attempt, text)).collect(),
        now: now(),
        may_manage: me.viewer.role.may_manage_keys(),
        problem: plain::take_panel_problem().await?,
    })
}

fn attempt_view(attempt: Attempt, text: impl Fn(String) -> String) -> AttemptView {
    let lines = |headers: Vec<(String, String)>| {
        headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
    };
    AttemptView {
        number: attempt.number,
        at: attempt.at,
        status: attempt.status,
        error: text(attempt.error),
        duration_ms: attempt.duration_ms,
        address: attempt.address,
        request: lines(attempt.request_headers),
        response: text(lines(attempt.response_headers)),
        body: text(attempt.response_body.unwrap_or_default()),
    }
}

/// The dialogs that lead to a change; the caller has the right to make it.
pub async fn for_change(me: &Current, panel: Panel) -> Result<PanelPage, AppError> {
    let (db, organization) = (me.db(), me.organization());
    match panel {
        Panel::NewInstance => {
            // A secret that was typed does not come back; the suggestion is made anew.
            let sent = plain::take_instance_form(None)
                .await?
                .map(|sent| plain::Sent { form: InstanceInput { verify_token: fresh_token(), ..sent.form }, ..sent });
            let form = InstanceInput {
                submission: InstanceId::new().0.to_string(),
                verify_token: fresh_token(),
                ..InstanceInput::default()
            };
            Ok(instance_form(None, form, sent))
        }
        Panel::EditInstance(id) => {
            let instance = instances::store::get(db, organization, id).await?.instance;
            let set = instance.credentials.iter().filter_map(|which| field_of(*which)).map(str::to_owned).collect();
            let editing = Some((id, instance.name.clone(), set));
            Ok(instance_form(editing, InstanceInput::of(&instance), plain::take_instance_form(Some(id)).await?))
        }
        Panel::ConnectInstance(id) => {
            no_store();
            let mut page = connection(me, id).await?;
            page.verify_token = plain::take_verify_token(me, id).await?;
            page.problem = plain::take_panel_problem().await?.or(page.problem);
            Ok(PanelPage::Connect(Box::new(page)))
        }
        Panel::DeleteInstance(id) => {
            let row = instances::store::get(db, organization, id).await?;
            Ok(PanelPage::DeleteInstance(Box::new(instance_line(row, None, true, now()))))
        }
        Panel::NewEndpoint => {
            let form = webhooks::EndpointForm::default();
            Ok(endpoint_form(None, form, plain::take_endpoint_form(None).await?))
        }
        Panel::EditEndpoint(id) => {
            let endpoint = webhooks::store::get(db, organization, None, id).await?;
            let form = webhooks::EndpointForm::of(&endpoint);
            Ok(endpoint_form(Some((id, endpoint.url)), form, plain::take_endpoint_form(Some(id)).await?))
        }
        Panel::EndpointCreated(id) => {
            no_store();
            let endpoint = webhooks::store::get(db, organization, None, id).await?;
            let line = endpoint_line(endpoint, Glance::default(), now());
            Ok(PanelPage::EndpointCreated(plain::take_revealed(me, id).await?, Box::new(line)))
        }
        Panel::RotateEndpoint(id) => Ok(PanelPage::RotateEndpoint(Box::new(endpoint(me, id).await?))),
        Panel::DeleteEndpoint(id) => Ok(PanelPage::DeleteEndpoint(Box::new(endpoint(me, id).await?.line))),
        Panel::Closed | Panel::Instance(_) | Panel::Endpoint(_) | Panel::Delivery(_) => Ok(PanelPage::Closed),
    }
}

fn instance_form(
    editing: Option<(InstanceId, String, Vec<String>)>,
    form: InstanceInput,
    sent: Option<plain::Sent<InstanceId, InstanceInput>>,
) -> PanelPage {
    let (form, errors, message) = match sent {
        Some(sent) => (sent.form, sent.errors, sent.message),
        None => (form, vec![], None),
    };
    PanelPage::InstanceForm(Box::new(InstanceFormPage { editing, form, errors, message }))
}

fn endpoint_form(
    editing: Option<(EndpointId, String)>,
    form: webhooks::EndpointForm,
    sent: Option<plain::Sent<EndpointId, webhooks::EndpointForm>>,
) -> PanelPage {
    let (form, errors, message) = match sent {
        Some(sent) => (sent.form, sent.errors, sent.message),
        None => (form, vec![], None),
    };
    PanelPage::EndpointForm(Box::new(EndpointFormPage { editing, form, errors, message }))
}

/// A suggestion for the verify token: the random halves of two ids.
fn fresh_token() -> String {
    let half = || InstanceId::new().0.as_u64_pair().1;
    format!("{:016x}{:016x}", half(), half())
}
