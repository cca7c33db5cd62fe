//! Asks before an instance or an endpoint is deleted: what it is, and what goes with it.

use leptos::{form::ActionForm, prelude::*};

use super::{
    context::Integrations,
    data::{EndpointChange, EndpointLine, InstanceChange, InstanceLine},
};
use crate::{
    components::{Button, ButtonKind, ConfirmDialog, Notice, Tone},
    pages::developer::api_keys::context::counted,
};

#[component]
pub fn DeleteInstance(line: InstanceLine) -> impl IntoView {
    let page = Integrations::get();
    let pending = page.change_instance.pending();
    let id = line.id;
    let waiting = i64::try_from(line.waiting).unwrap_or(i64::MAX);
    let action = move || {
        view! {
            <ActionForm action=page.change_instance>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=InstanceChange::Delete.as_str()/>
                <input type="hidden" name="back" value=move || page.back().get()/>
                <Button kind=ButtonKind::Danger submit=true pending=pending>"Delete instance"</Button>
            </ActionForm>
        }
    };
    let number = line.number.map(|number| format!(" ({number})")).unwrap_or_default();
    view! {
        <ConfirmDialog id="delete-dialog" title=format!("Delete {}?", line.name) close_href=page.close_href() keep="Keep instance" action=action>
            <Notice tone=Tone::Bad>
                <p>
                    <strong>"Deleting is permanent."</strong>
                    {format!(" Calls that name the instance “{}”{number} will be refused, and its credentials are removed.", line.name)}
                </p>
            </Notice>
            <p>{match waiting {
                0 => "No message waits on it.".to_owned(),
                n => format!("{} and will be cancelled.", counted(n, "message waits on it", "messages wait on it")),
            }}</p>
            <p>"What was sent stays in the logs. To stop sending for a while, pause the queue instead."</p>
        </ConfirmDialog>
    }
}

#[component]
pub fn DeleteEndpoint(line: EndpointLine) -> impl IntoView {
    let page = Integrations::get();
    let pending = page.change_endpoint.pending();
    let id = line.id;
    let action = move || {
        view! {
            <ActionForm action=page.change_endpoint>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=EndpointChange::Delete.as_str()/>
                <input type="hidden" name="back" value=move || page.back().get()/>
                <Button kind=ButtonKind::Danger submit=true pending=pending>"Delete endpoint"</Button>
            </ActionForm>
        }
    };
    view! {
        <ConfirmDialog id="delete-dialog" title="Delete this endpoint?".to_owned() close_href=page.close_href() keep="Keep endpoint" action=action>
            <p class="anywhere"><code>{line.url.clone()}</code></p>
            <Notice tone=Tone::Bad>
                <p>
                    <strong>"Deleting is permanent."</strong>
                    " Nothing is sent to this URL any more, and its signing secret is removed."
                </p>
            </Notice>
            <p>{match line.pending {
                0 => "No delivery waits for it.".to_owned(),
                n => format!("{} and will not be sent.", counted(n, "delivery waits for it", "deliveries wait for it")),
            }}</p>
            <p>"What was delivered stays visible. To stop for a while, disable it instead."</p>
        </ConfirmDialog>
    }
}
