//! What endpoints are sent, as the document describes it: `webhooks` of OpenAPI 3.1, one for each type of event.

use domain::webhooks::{KINDS, Kind};
use serde_json::{Map, Value, json};

/// Adds the events to the document, and says which of them an endpoint can hear of.
pub(super) fn describe(document: &mut Value) {
    let mut webhooks = Map::new();
    for kind in KINDS {
        let schema = schema_name(kind.name);
        document["components"]["schemas"][&schema] = payload(kind);
        webhooks.insert(kind.name.to_owned(), webhook(kind, &schema));
    }
    document["webhooks"] = Value::Object(webhooks);

    let mut words: Vec<String> = vec!["*".into()];
    for kind in KINDS {
        let family = format!("{}.*", kind.family());
        if !words.contains(&family) {
            words.push(family);
        }
    }
    words.extend(KINDS.iter().map(|kind| kind.name.to_owned()));
    document["components"]["schemas"]["EventFilter"] = json!({
        "type": "string", "enum": words,
        "description": "A type of event, all of a family (`message.*`), or all there are (`*`)",
    });
    let filter = json!({ "$ref": "#/components/schemas/EventFilter" });
    for name in ["CreateWebhook", "UpdateWebhook", "Webhook"] {
        let properties = &mut document["components"]["schemas"][name]["properties"];
        properties["events"]["items"] = filter.clone();
        if let Some(one) = properties.get_mut("event") {
            *one = json!({ "oneOf": [filter.clone(), { "type": "null" }], "description": "One of them, instead of `events`" });
        }
    }
}

/// `message.sent` becomes `MessageSentEvent`.
fn schema_name(kind: &str) -> String {
    let words = kind.split(['.', '_']).map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    words.collect::<String>() + "Event"
}

fn webhook(kind: &Kind, schema: &str) -> Value {
    let header = |name: &str, description: &str, example: &str| {
        json!({
            "name": name, "in": "header", "required": true, "description": description,
            "schema": { "type": "string" }, "example": example,
        })
    };
    json!({
        "post": {
            "tags": ["Webhooks"],
            "operationId": format!("on{}", schema.trim_end_matches("Event")),
            "summary": kind.about,
            "description": "Signed as Standard Webhooks 1.0.0 says (https://www.standardwebhooks.com): check the signature \
                over the body's bytes, and that `webhook-timestamp` is not old. The same event may come more than once, \
                with the same `webhook-id`.",
            "parameters": [
                header("webhook-id", "The event's id", "evt_01jd3qz5k8e9rb1w0c5m2n6x7y"),
                header("webhook-timestamp", "When this attempt was made, as Unix time in seconds", "1790000000"),
                header(
                    "webhook-signature",
                    "HMAC-SHA256 over id, timestamp and body, joined by dots; more than one, with a space between, while \
                     a secret is being rotated",
                    "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
                ),
            ],
            "requestBody": {
                "required": true,
                "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } },
            },
            "responses": {
                "2XX": { "description": "Heard, within 15 seconds" },
                "410": { "description": "Gone: the endpoint is disabled" },
                "default": { "description": "Attempted again later, eight times in all; `Retry-After` is honoured" },
            },
        }
    })
}

fn payload(kind: &Kind) -> Value {
    json!({
        "type": "object",
        "description": kind.about,
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": { "const": kind.name },
            "timestamp": time("When it happened"),
            "data": data(kind.name),
        },
    })
}

/// An object of which all fields are there, but for those of `maybe`.
fn object(fields: &[(&str, Value)], maybe: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.iter().chain(maybe).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn data(kind: &str) -> Value {
    match kind {
        "message.queued" => message(&["queued"], &[]),
        "message.sent" => message(&["sent"], &[priced()]),
        "message.delivered" => message(&["delivered"], &[priced()]),
        "message.read" => message(&["read"], &[priced()]),
        "message.failed" => message(
            &["failed", "cancelled", "expired"],
            &[(
                "error",
                object(
                    &[
                        ("code", text("The provider's code, or a word of ours", "131026")),
                        ("message", text("A sentence", "Message undeliverable.")),
                    ],
                    &[],
                ),
            )],
        ),
        "message.received" => object(
            &[
                ("id", id("inm")),
                ("instanceId", id("ins")),
                ("conversationId", id("cnv")),
                ("conversationState", reference("ConversationState")),
                ("from", text("E.164", "+60123456789")),
                ("name", text("As the contact calls itself; may be empty", "Aisyah")),
                ("type", text("The provider's word for what it is", "text")),
                ("message", json!({ "description": "The content in the provider's own shape" })),
                ("providerMessageId", text("The id that the provider gave it", "wamid.HBgL")),
                ("at", time("When it was written")),
            ],
            &[],
        ),
        "instance.status" => object(
            &[
                ("instanceId", id("ins")),
                ("name", text("The instance's name", "Shop")),
                ("provider", reference("InstanceProvider")),
                ("status", reference("InstanceStatus")),
                ("previousStatus", reference("InstanceStatus")),
                ("detail", text("What the provider said; may be empty", "WORKING")),
                ("phone", json!({ "type": ["string", "null"], "description": "Digits of E.164, once known" })),
                ("at", time("When Bouncer heard of it")),
            ],
            &[],
        ),
        "template.category_changed" => object(
            &[
                ("id", id("tpl")),
                ("instanceId", id("ins")),
                ("name", text("The template's name", "order_update")),
                ("language", text("Its language", "en_US")),
                ("previousCategory", text("Before", "UTILITY")),
                ("category", text("From now on", "MARKETING")),
            ],
            &[],
        ),
        "api_key.expiring" => object(
            &[
                ("keyId", id("key")),
                ("name", text("The key's name", "Shop plugin")),
                ("expiresAt", time("When it stops working")),
                ("days", json!({ "type": "integer", "enum": [14, 3, 1], "description": "Days left, rounded up" })),
            ],
            &[],
        ),
        "api_key.revoked" => object(
            &[
                ("keyId", id("key")),
                ("name", text("The key's name", "Shop plugin")),
                ("revokedAt", time("Since then it does not work")),
                ("revokedBy", text("Who did it", "Ada")),
            ],
            &[],
        ),
        "webhook.disabled" => object(
            &[
                ("webhookId", id("whk")),
                ("url", text("The endpoint's address", "https://shop.example/hooks/bouncer")),
                (
                    "reason",
                    json!({ "enum": ["gone", "failures"], "description": "It answered 410, or failed for five days" }),
                ),
                ("disabledAt", time("Since then it hears nothing")),
                ("failingSince", json!({ "type": ["string", "null"], "format": "date-time" })),
            ],
            &[],
        ),
        _ => object(&[("webhookId", id("whk")), ("requestedBy", text("Who asked for it", "Ada"))], &[]),
    }
}

fn message(statuses: &[&str], more: &[(&str, Value)]) -> Value {
    object(
        &[
            ("id", id("msg")),
            ("instanceId", id("ins")),
            (
                "to",
                json!({ "type": ["string", "null"], "description": "E.164; null once erased", "example": "+60123456789" }),
            ),
            ("status", json!({ "enum": statuses })),
            ("environment", reference("Environment")),
            ("keyId", json!({ "type": ["string", "null"], "description": "The key that sent it; null: the console" })),
            ("at", time("When it came to this")),
        ],
        more,
    )
}

fn priced() -> (&'static str, Value) {
    ("pricing", json!({ "description": "Meta's pricing object, once it told it" }))
}

fn id(prefix: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$") })
}

fn text(description: &str, example: &str) -> Value {
    json!({ "type": "string", "description": description, "example": example })
}

fn time(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
