//! Meta's deliveries: `{"object", "entry": [{"changes": [{"field", "value"}]}]}`, up to 1,000 changes at once
//! (<https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components>).

use std::collections::BTreeMap;

use chrono::Utc;
use domain::{
    conversations::NewInbound,
    messages::{MessageStatus, StatusUpdate},
};
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{TemplateNews, Told, time_of};

/// The answer to Meta's first question: its challenge, if it knows the verify token.
pub fn challenge(query: &[(String, String)], token: Option<&str>) -> Option<String> {
    let token = token.filter(|token| !token.is_empty())?;
    let find = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (mode, given, challenge) = (find("hub.mode")?, find("hub.verify_token")?, find("hub.challenge")?);
    let right = bool::from(given.as_bytes().ct_eq(token.as_bytes()));
    // Meta's challenges are numbers; whatever else is not repeated.
    let plain = (1..=100).contains(&challenge.len()) && challenge.bytes().all(|b| b.is_ascii_alphanumeric());
    (right && mode == "subscribe" && plain).then(|| challenge.to_owned())
}

/// What of a delivery matters, by the id of the number that it is about; `None`: about the account.
pub fn parse(delivery: &Value) -> BTreeMap<Option<String>, Told> {
    let mut parts: BTreeMap<Option<String>, Told> = BTreeMap::new();
    if delivery["object"].as_str() != Some("whatsapp_business_account") {
        parts.entry(None).or_default().ignore("foreign_object");
        return parts;
    }
    let entries = delivery["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let changes = entries.iter().filter_map(|entry| Some((&entry["id"], entry["changes"].as_array()?)));
    for (account, change) in changes.flat_map(|(account, changes)| changes.iter().map(move |one| (account, one))) {
        let value = &change["value"];
        let number = text_of(&value["metadata"]["phone_number_id"]);
        let told = parts.entry(number).or_default();
        match change["field"].as_str() {
            Some("messages") => messages(value, told),
            Some("template_category_update") => {
                template(account, value, &value["new_category"], told, |told| &mut told.categories);
            }
            Some("message_template_status_update") => {
                template(account, value, &value["event"], told, |told| &mut told.template_statuses);
            }
            Some(_) => told.ignore("unknown_field"),
            None => told.ignore("unreadable"),
        }
    }
    parts
}

fn messages(value: &Value, told: &mut Told) {
    let list = |field: &str| value[field].as_array().map(Vec::as_slice).unwrap_or_default();
    for status in list("statuses") {
        match status_of(status) {
            Ok(status) => told.statuses.push(status),
            Err(why) => told.ignore(why),
        }
    }
    for message in list("messages") {
        match message_of(message, list("contacts")) {
            Ok(message) => told.messages.push(message),
            Err(why) => told.ignore(why),
        }
    }
    if ["statuses", "messages"].iter().all(|field| list(field).is_empty()) {
        // Groups, errors of the account, and what comes later.
        told.ignore("unknown_content");
    }
}

fn status_of(status: &Value) -> Result<StatusUpdate, &'static str> {
    let id = status["id"].as_str().filter(|id| !id.is_empty()).ok_or("unreadable")?;
    let word = match status["status"].as_str().ok_or("unreadable")? {
        "sent" => MessageStatus::Sent,
        "delivered" => MessageStatus::Delivered,
        "read" | "played" => MessageStatus::Read,
        "failed" => MessageStatus::Failed,
        _ => return Err("unknown_status"),
    };
    let error = (word == MessageStatus::Failed).then(|| error_of(&status["errors"][0]));
    Ok(StatusUpdate {
        provider_message_id: Some(id.to_owned()),
        message: status["biz_opaque_callback_data"].as_str().and_then(|ours| ours.parse().ok()),
        status: word,
        at: time_of(&status["timestamp"]).unwrap_or_else(Utc::now),
        error,
        pricing: Some(&status["pricing"]).filter(|pricing| pricing.is_object()).cloned(),
    })
}

/// Code and sentence.
fn error_of(error: &Value) -> (String, String) {
    let code = text_of(&error["code"]).unwrap_or_else(|| "unknown".into());
    let words = [&error["error_data"]["details"], &error["message"], &error["title"]];
    let sentence = words.iter().find_map(|words| words.as_str().filter(|text| !text.is_empty()));
    (code, sentence.unwrap_or("WhatsApp reported that it failed.").chars().take(1_000).collect())
}

fn message_of(message: &Value, contacts: &[Value]) -> Result<NewInbound, &'static str> {
    let id = message["id"].as_str().filter(|id| !id.is_empty()).ok_or("unreadable")?;
    let kind = message["type"].as_str().ok_or("unreadable")?;
    if message["group_id"].is_string() {
        return Err("group");
    }
    // Since 2026 people may hide their number; then there is only an id that nothing can be sent to by number.
    let from = text_of(&message["from"]).ok_or("no_number")?;
    if !(5..=15).contains(&from.len()) || !from.bytes().all(|b| b.is_ascii_digit()) {
        return Err("no_number");
    }
    let contact = contacts.iter().find(|contact| text_of(&contact["wa_id"]).as_deref() == Some(&from));
    let name = contact.and_then(|contact| contact["profile"]["name"].as_str()).unwrap_or_default().to_owned();
    Ok(NewInbound {
        provider_message_id: id.to_owned(),
        from,
        name,
        kind: kind.to_owned(),
        body: message.clone(),
        at: time_of(&message["timestamp"]).unwrap_or_else(Utc::now),
    })
}

fn template(
    account: &Value,
    value: &Value,
    word: &Value,
    told: &mut Told,
    list: fn(&mut Told) -> &mut Vec<TemplateNews>,
) {
    let name = text_of(&value["message_template_name"]);
    let language = text_of(&value["message_template_language"]);
    match (text_of(account), name, language, text_of(word)) {
        (Some(account), Some(name), Some(language), Some(word)) => {
            list(told).push(TemplateNews { account, name, language, word });
        }
        _ => told.ignore("unreadable"),
    }
}

/// A text that is not empty; ids are numbers in some places and texts in others.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_challenge_is_repeated_to_whom_knows_the_token() {
        let pairs = |query: &str| {
            let uri = format!("/?{query}").parse().unwrap();
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0
        };
        let ask = |query: &str| challenge(&pairs(query), Some("to ken&"));
        assert_eq!(
            ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=to%20ken%26").as_deref(),
            Some("1158201444")
        );
        assert_eq!(
            ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=to+ken%26").as_deref(),
            Some("1158201444")
        );
        for wrong in [
            "",
            "hub.mode=subscribe&hub.challenge=1",
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=other",
            "hub.mode=subscribe&hub.verify_token=to%20ken%26",
            "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=to%20ken%26",
            "hub.challenge=1&hub.verify_token=to%20ken%26",
            "hub.mode=subscribe&hub.challenge=%3Cscript%3E&hub.verify_token=to%20ken%26",
        ] {
            assert_eq!(ask(wrong), None, "{wrong}");
        }
        let empty = pairs("hub.mode=subscribe&hub.challenge=1&hub.verify_token=");
        assert_eq!(challenge(&empty, None), None);
        assert_eq!(challenge(&empty, Some("")), None);
    }

    #[test]
    fn numbers_of_one_account_are_told_apart() {
        let change = |number: &str, id: &str| {
            json!({ "field": "messages", "value": {
                "metadata": { "phone_number_id": number },
                "statuses": [{ "id": id, "status": "read", "timestamp": "1750030090" }],
            } })
        };
        let delivery = json!({
            "object": "whatsapp_business_account",
            "entry": [{ "changes": [change("1", "a"), change("2", "b")] }, { "changes": [change("1", "c")] }],
        });
        let parts = parse(&delivery);
        let ids = |number: &str| -> Vec<_> {
            parts[&Some(number.to_owned())].statuses.iter().filter_map(|s| s.provider_message_id.clone()).collect()
        };
        assert_eq!((ids("1"), ids("2")), (vec!["a".into(), "c".into()], vec!["b".into()]));
    }

    #[test]
    fn nonsense_is_left_out_and_counted() {
        for nonsense in [
            json!(null),
            json!([]),
            json!({ "object": "page" }),
            json!({ "object": "whatsapp_business_account", "entry": 7 }),
        ] {
            assert!(parse(&nonsense).values().all(Told::is_empty), "{nonsense}");
        }
        let value = |value: Value| {
            let delivery = json!({ "object": "whatsapp_business_account", "entry": [{ "changes": [{ "field": "messages", "value": value }] }] });
            let mut parts = parse(&delivery);
            assert_eq!(parts.len(), 1);
            parts.pop_first().map(|(_, told)| told).unwrap()
        };
        for (content, why) in [
            (json!({ "statuses": [{ "id": "a", "status": "dreamt", "timestamp": "1" }] }), "unknown_status"),
            (json!({ "statuses": [{ "id": "", "status": "read" }] }), "unreadable"),
            (json!({ "statuses": [7] }), "unreadable"),
            (json!({ "messages": [{ "id": "a", "type": "text", "from_user_id": "US.1" }] }), "no_number"),
            (json!({ "messages": [{ "id": "a", "type": "text", "from": "1", "group_id": "g" }] }), "group"),
            (json!({ "messages": [{}] }), "unreadable"),
            (json!({ "errors": [{ "code": 130429 }] }), "unknown_content"),
            (json!("x"), "unknown_content"),
        ] {
            let told = value(content.clone());
            assert_eq!(told.ignored, [why], "{content}");
            assert!(told.is_empty(), "{content}");
        }
    }
}
