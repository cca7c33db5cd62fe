//! A new secret for a key: asks when the old one stops.

use domain::{keys::Overlap, time::Time};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::RegenerateKey,
    context::{KeysPage, counted},
    data::Used,
    query::Panel,
    row::OldSecretLine,
};
use crate::components::{Button, ButtonKind, Dialog, FormError, Notice, RadioCard, RadioCards, TimeText, Tone};

const FORM: &str = "regenerate-form";

#[component]
pub fn RegenerateDialog(used: Used, now: Time) -> impl IntoView {
    let page = KeysPage::get();
    let Used { row, in_use } = used;
    let key = row.key;
    let id = key.id;
    let regenerate = ServerAction::<RegenerateKey>::new();
    let pending = regenerate.pending();
    let failed = RwSignal::new(None::<String>);
    Effect::new(move |_| match regenerate.value().get() {
        Some(Ok(Some(revealed))) => {
            page.revealed.set(Some(revealed));
            page.replace(Panel::Created(id));
            page.refresh_list();
        }
        Some(Err(error)) => failed.set(Some(error.to_string())),
        Some(Ok(None)) | None => {}
    });

    let overlap = RwSignal::new(Overlap::None.as_str().to_owned());
    let cards = Overlap::ALL
        .map(|choice| {
            let help = match choice {
                Overlap::None => "Every program with the old key is refused until it has the new one",
                Overlap::Hour => "For programs that you change right away",
                Overlap::Day => "Both work for a day",
                Overlap::Week => "Both work for a week; time for partners to change over",
            };
            view! { <RadioCard name="overlap" value=choice.as_str() title=choice.label() help=help chosen=overlap/> }
        })
        .collect_view();
    let callers = counted(i64::try_from(in_use.callers.len()).unwrap_or(0), "caller", "callers");
    let rotating = key.old_secret.is_some();
    view! {
        <Dialog
            id="regenerate-dialog"
            title=format!("Regenerate {}", key.name)
            description="A new secret for the same key. Name, permissions and limits stay."
            close_href=page.close_href()
            foot=move || view! {
                <a class="button quiet foot-start" href=move || page.close_href().get() data-noscroll="true" data-close="true">"Cancel"</a>
                <Button kind=ButtonKind::Primary submit=true pending=pending attr:form=FORM>"Regenerate key"</Button>
            }
        >
            <FormError message=failed/>
            {match key.last_use.clone() {
                Some(last) => view! {
                    <p>"Last used " <TimeText at=last.at now/> {format!("; {callers} in the last 7 days.")}</p>
                }
                .into_any(),
                None => view! { <p>"This key was never used."</p> }.into_any(),
            }}
            {rotating.then(|| view! {
                <Notice tone=Tone::Warn>
                    <p>"This key is being rotated already. The secret before the present one ends now."</p>
                </Notice>
                <OldSecretLine key=key.clone() now/>
            })}
            <ActionForm action=regenerate attr:id=FORM>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="version" value=key.version/>
                <input type="hidden" name="back" value=move || page.back().get()/>
                <RadioCards legend="The old key stops working">{cards}</RadioCards>
            </ActionForm>
        </Dialog>
    }
}
