//! The audit log: who did what, when, from where. Newest first.

use domain::{
    audit::{ACTIONS, AuditRow, sentence, sentence_end},
    time::Time,
};
use leptos::{prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};

use crate::{
    components::{
        Button, Chip, ChipRow, CursorPager, EmptyState, ErrorState, Icon, Select, Skeleton, TableWrap, TimeText,
    },
    error::AppError,
    later::{late_page, load},
    url::encode,
};

const HERE: &str = "/dashboard/settings/audit";
#[cfg(feature = "ssr")]
const PAGE: i64 = 50;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFilter {
    pub action: Option<String>,
    /// As the log names them: an e-mail address, or "command line".
    pub person: Option<String>,
    /// Rows older than this number.
    pub before: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditList {
    pub rows: Vec<AuditRow>,
    /// Everybody who did something, for the filter.
    pub people: Vec<String>,
    pub more: bool,
    pub now: Time,
}

#[server(endpoint = "audit/list", input = leptos::server_fn::codec::Json)]
pub async fn load_audit(filter: AuditFilter) -> Result<AuditList, AppError> {
    use crate::session;
    let me = session::current().await?;
    let (action, person) = (filter.action.as_deref(), filter.person.as_deref());
    // One more than is shown tells whether there are older ones.
    let mut rows =
        domain::audit::store::page(me.db(), me.organization(), filter.before, action, person, PAGE + 1).await?;
    let more = rows.len() as i64 > PAGE;
    rows.truncate(PAGE as usize);
    let people = domain::audit::store::actors(me.db(), me.organization()).await?;
    Ok(AuditList { rows, people, more, now: session::now() })
}

/// The address of the page with this filter.
fn address(filter: &AuditFilter) -> String {
    let parts: Vec<String> = [
        filter.action.as_ref().map(|action| format!("action={}", encode(action))),
        filter.person.as_ref().map(|person| format!("person={}", encode(person))),
        filter.before.map(|before| format!("before={before}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { HERE.into() } else { format!("{HERE}?{}", parts.join("&")) }
}

/// "API key: created", for the list of actions.
fn action_words(action: &str) -> String {
    let words = |text: &str| text.replace('_', " ");
    match action.split_once('.') {
        Some(("api_key", what)) => format!("API key: {}", words(what)),
        Some((noun, what)) => {
            let noun = words(noun);
            let mut letters = noun.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            format!("{first}{}: {}", letters.as_str(), words(what))
        }
        None => words(action),
    }
}

late_page!(AuditRoute, "settings", page, preload);

#[wasm_split(settings, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <AuditPage/> }.into_any())
}

#[component]
fn AuditPage() -> impl IntoView {
    let query = use_query_map();
    let filter = Memo::new(move |_| {
        query.with(|query| {
            // No name in the log has NUL in it, and no page takes it.
            let get = |name| query.get(name).map(|value| value.replace('\0', "")).filter(|value| !value.is_empty());
            AuditFilter {
                action: get("action"),
                person: get("person"),
                before: get("before").and_then(|n| n.parse().ok()),
            }
        })
    });
    let list = load(move || filter.get(), load_audit);
    view! {
        <Title text="Audit log"/>
        <Transition fallback=|| view! { <Skeleton rows=8/> }>
            {move || Suspend::new(async move {
                let filter = filter.get();
                match list.await {
                    Ok(list) => view! { <Log list filter/> }.into_any(),
                    Err(error) => view! { <ErrorState error/> }.into_any(),
                }
            })}
        </Transition>
    }
    .into_any()
}

#[component]
fn Log(list: AuditList, filter: AuditFilter) -> impl IntoView {
    let AuditList { rows, people, more, now } = list;
    let next =
        rows.last().filter(|_| more).map(|row| address(&AuditFilter { before: Some(row.seq), ..filter.clone() }));
    let first = filter.before.map(|_| address(&AuditFilter { before: None, ..filter.clone() }));
    let mut actions = vec![(String::new(), "All actions".to_owned())];
    actions.extend(ACTIONS.iter().map(|&action| (action.to_owned(), action_words(action))));
    let mut persons = vec![(String::new(), "Everybody".to_owned())];
    persons.extend(people.into_iter().map(|name| (name.clone(), name)));
    let filtered = filter.action.is_some() || filter.person.is_some();
    let chips = [
        filter.action.as_ref().map(|action| {
            (
                format!("Action: {}", action_words(action)),
                address(&AuditFilter { action: None, before: None, ..filter.clone() }),
            )
        }),
        filter.person.as_ref().map(|name| {
            (format!("Person: {name}"), address(&AuditFilter { person: None, before: None, ..filter.clone() }))
        }),
    ];
    view! {
        <form class="toolbar" method="get" action=HERE aria-label="Filter">
            <Select name="action" label="Action" options=actions value=filter.action.clone().unwrap_or_default()/>
            <Select name="person" label="Person" options=persons value=filter.person.clone().unwrap_or_default()/>
            <Button submit=true icon=Icon::Filter>"Filter"</Button>
        </form>
        {filtered
            .then(|| {
                view! {
                    <ChipRow clear_href=HERE>
                        {chips.into_iter().flatten().map(|(label, remove_href)| view! { <Chip label remove_href/> }).collect_view()}
                    </ChipRow>
                }
            })}
        {if rows.is_empty() {
            let text = if filtered {
                "No change matches this filter."
            } else {
                "Every change to keys, members and the organization is written here and can never be altered."
            };
            view! { <EmptyState icon=Icon::History title="Nothing here" text/> }.into_any()
        } else {
            view! {
                <TableWrap label="Audit log">
                    <table class="table cards">
                        <thead>
                            <tr>
                                <th scope="col">"When"</th>
                                <th scope="col">"Who"</th>
                                <th scope="col">"What"</th>
                                <th scope="col">"Changes"</th>
                                <th scope="col">"Address"</th>
                                <th scope="col" class="num">"No."</th>
                            </tr>
                        </thead>
                        <tbody>{rows.into_iter().map(|row| view! { <Row row now/> }).collect_view()}</tbody>
                    </table>
                </TableWrap>
            }
            .into_any()
        }}
        <CursorPager first_href=first next_href=next/>
    }
}

#[component]
fn Row(row: AuditRow, now: Time) -> impl IntoView {
    let key_href = row
        .subject
        .starts_with("key_")
        .then(|| format!("/dashboard/developer/api-keys?panel=history&key={}", row.subject));
    // "joined", "signed in" and "signed out" say it all when the person is their own subject.
    let itself = matches!(row.action.as_str(), "member.joined" | "person.signed_in" | "person.signed_out")
        && row.subject_name == row.actor;
    let subject = match key_href {
        _ if itself => ().into_any(),
        Some(href) => view! { <a class="text-link" href=href>{row.subject_name}</a> }.into_any(),
        None => view! { <span title=row.subject>{row.subject_name}</span> }.into_any(),
    };
    let value = |value: Option<String>| value.filter(|value| !value.is_empty()).unwrap_or_else(|| "none".into());
    view! {
        <tr>
            <td data-label="When"><TimeText at=row.at now=now/></td>
            <td data-label="Who">{row.actor}</td>
            <td data-label="What">{sentence(&row.action)} " " {subject} {sentence_end(&row.action)}</td>
            <td data-label="Changes">
                {if row.changes.is_empty() {
                    view! { <span class="none">"—"</span> }.into_any()
                } else {
                    view! {
                        <ul class="changes">
                            {row.changes
                                .into_iter()
                                .map(|change| {
                                    // Of a new thing there is no before.
                                    let before = change.before.map(|before| {
                                        view! { <span>{value(Some(before))}</span> <span aria-label="became">" → "</span> }
                                    });
                                    view! {
                                        <li>
                                            <span class="change-field">{change.field}</span> ": " {before}
                                            <span>{value(change.after)}</span>
                                        </li>
                                    }
                                })
                                .collect_view()}
                        </ul>
                    }
                    .into_any()
                }}
            </td>
            <td data-label="Address" class="mono">
                {match row.ip {
                    Some(ip) => ip.to_string().into_any(),
                    None => view! { <span class="none">"—"</span> }.into_any(),
                }}
            </td>
            <td data-label="No." class="num">{row.seq}</td>
        </tr>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_has_its_address() {
        assert_eq!(address(&AuditFilter::default()), HERE);
        let all = AuditFilter {
            action: Some("api_key.created".into()),
            person: Some("ada@acme.example".into()),
            before: Some(7),
        };
        assert_eq!(address(&all), format!("{HERE}?action=api_key.created&person=ada%40acme.example&before=7"));
        assert_eq!(action_words("member.role_changed"), "Member: role changed");
        assert_eq!(action_words("api_key.created"), "API key: created");
    }
}
