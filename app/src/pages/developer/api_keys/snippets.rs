//! The new key, ready to paste: a `.env` line, a cURL call, JavaScript, and a node for n8n.

use leptos::prelude::*;

use super::data::Revealed;
use crate::components::CodeBlock;

/// Label and text of each form.
pub fn snippets(revealed: &Revealed) -> [(&'static str, String); 4] {
    let Revealed { key, api_secret, public_url: url, .. } = revealed;
    let key = key.as_deref().unwrap_or_default();
    let mut headers = vec![("Authorization", format!("Bearer {key}"))];
    headers.extend(api_secret.clone().map(|secret| ("X-API-Secret", secret)));
    let parameters: Vec<_> =
        headers.iter().map(|(name, value)| serde_json::json!({ "name": name, "value": value })).collect();
    let lines: String = headers.iter().map(|(name, value)| format!(" \\\n  -H \"{name}: {value}\"")).collect();
    let fields: Vec<_> = headers.iter().map(|(name, value)| format!("\"{name}\": \"{value}\"")).collect();
    let fields = fields.join(", ");
    let secret_line = api_secret.as_ref().map(|secret| format!("BOUNCER_API_SECRET={secret}\n")).unwrap_or_default();
    let node = serde_json::json!({
        "nodes": [{
            "parameters": {
                "url": format!("{url}/api/v1/me"),
                "sendHeaders": true,
                "headerParameters": { "parameters": parameters },
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
        (".env", format!("BOUNCER_API_KEY={key}\n{secret_line}BOUNCER_URL={url}")),
        ("cURL", format!("curl {url}/api/v1/me{lines}")),
        (
            "JavaScript",
            format!(
                "const response = await fetch(\"{url}/api/v1/me\", {{\n  headers: {{ {fields} }},\n}});\nconsole.log(await response.json());"
            ),
        ),
        ("n8n", serde_json::to_string_pretty(&node).unwrap_or_default()),
    ]
}

/// The forms as tabs that switch with CSS alone; each holds everything that was revealed. `on_copied` hears of each copy.
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
            key: Some("bnc_live_secret".into()),
            api_secret: Some("bnc_secret_second".into()),
            regenerated: false,
            calls_since: None,
            public_url: "https://bouncer.acme.example".into(),
        };
        for (label, text) in snippets(&revealed) {
            for part in ["bnc_live_secret", "bnc_secret_second", "https://bouncer.acme.example"] {
                assert!(text.contains(part), "{label} without {part}");
            }
        }
        let [_, _, _, (_, node)] = snippets(&revealed);
        assert!(serde_json::from_str::<serde_json::Value>(&node).is_ok());
        let printed = format!("{revealed:?}");
        assert!(
            !printed.contains("bnc_live_secret") && !printed.contains("bnc_secret"),
            "a key must not get into a log"
        );
    }
}
