//! The new key, ready to paste: a `.env` line, a cURL call, JavaScript, and a node for n8n.

use leptos::prelude::*;

use super::data::Revealed;
use crate::components::CodeBlock;

/// Label and text of each form.
pub fn snippets(revealed: &Revealed) -> [(&'static str, String); 4] {
    let Revealed { key, public_url: url, .. } = revealed;
    let node = serde_json::json!({
        "nodes": [{
            "parameters": {
                "url": format!("{url}/api/v1/me"),
                "sendHeaders": true,
                "headerParameters": { "parameters": [{ "name": "Authorization", "value": format!("Bearer {key}") }] },
                "options": {},
            },
            "name": "Bouncer",
            "type": "n8n-nodes-base.httpRequest",
            "typeVersion": 4.2,
            "position": [0, 0],
        }],
        "connections": {},
    });
    [
        (".env", format!("BOUNCER_API_KEY={key}\nBOUNCER_URL={url}")),
        ("cURL", format!("curl {url}/api/v1/me \\\n  -H \"Authorization: Bearer {key}\"")),
        (
            "JavaScript",
            format!(
                "const response = await fetch(\"{url}/api/v1/me\", {{\n  headers: {{ Authorization: \"Bearer {key}\" }},\n}});\nconsole.log(await response.json());"
            ),
        ),
        ("n8n", serde_json::to_string_pretty(&node).unwrap_or_default()),
    ]
}

/// The forms as tabs that switch with CSS alone. `on_copied` hears of each copy.
#[component]
pub fn Snippets(revealed: Revealed, on_copied: Callback<()>) -> impl IntoView {
    let all = snippets(&revealed);
    let tabs = all
        .iter()
        .enumerate()
        .map(|(i, (label, _))| {
            view! {
                <label class="snippet-tab">
                    <input type="radio" class=format!("snippet-{i}-radio") name="snippet" value=i checked=i == 1/>
                    <span>{*label}</span>
                </label>
            }
        })
        .collect_view();
    let panes = all
        .into_iter()
        .enumerate()
        .map(|(i, (label, text))| {
            view! {
                <div class=format!("snippet snippet-{i}")>
                    <CodeBlock id=format!("snippet-{i}-text") text=text label=format!("The key as {label}") on_copied=on_copied/>
                    {(label == "n8n").then(|| view! { <p class="note">"Copy, then paste onto the canvas of a workflow: it becomes an HTTP Request node."</p> })}
                </div>
            }
        })
        .collect_view();
    view! {
        <div class="snippets">
            <fieldset class="snippet-tabs">
                <legend class="sr-only">"Show as"</legend>
                {tabs}
            </fieldset>
            {panes}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ids::KeyId, keys::Environment};

    #[test]
    fn every_form_carries_the_key_and_the_address() {
        let revealed = Revealed {
            id: "key_01h455vb4pex5vsknk084sn02q".parse::<KeyId>().unwrap(),
            name: "Shop".into(),
            environment: Environment::Live,
            key: "bnc_live_secret".into(),
            regenerated: false,
            public_url: "https://bouncer.acme.example".into(),
        };
        for (label, text) in snippets(&revealed) {
            assert!(text.contains("bnc_live_secret") && text.contains("https://bouncer.acme.example"), "{label}");
        }
        let [_, _, _, (_, node)] = snippets(&revealed);
        assert!(serde_json::from_str::<serde_json::Value>(&node).is_ok());
        assert!(!format!("{revealed:?}").contains("bnc_live_secret"), "a key must not get into a log");
    }
}
