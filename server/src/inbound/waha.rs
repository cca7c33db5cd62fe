//! WAHA's deliveries: `{"id", "timestamp", "event", "session", "me", "payload", "engine"}`
//! (<https://waha.devlike.pro/docs/how-to/events/>). Engines fill `payload` differently; what cannot be read is left out.

use chrono::Utc;
use domain::{
    conversations::NewInbound,
    instances::{Session, Status},
    messages::{MessageStatus, StatusUpdate},
};
use serde_json::Value;

use super::{Told, time_of};
use crate::providers::waha::{bare_id, message_id, message_of, phone_of, status_of};

/// What of a delivery matters, if it is about our session.
pub fn parse(delivery: &Value, session: &str) -> Told {
    let mut told = Told::default();
    if delivery["session"].as_str() != Some(session) {
        told.ignore("foreign_session");
        return told;
    }
    let done = match delivery["event"].as_str() {
        Some("message") => message(delivery).map(|message| told.messages.push(message)),
        Some("message.ack") => ack(delivery).map(|status| told.statuses.push(status)),
        Some("session.status") => {
            status(delivery).map(|session| told.session = Some((session, time_of(&delivery["timestamp"]))))
        }
        Some(_) => Err("unknown_event"),
        None => Err("unreadable"),
    };
    if let Err(why) = done {
        told.ignore(why);
    }
    told
}

fn status(delivery: &Value) -> Result<Session, &'static str> {
    let word = delivery["payload"]["status"].as_str().ok_or("unreadable")?;
    let status = status_of(word).ok_or("unknown_session_status")?;
    let phone = delivery["me"]["id"].as_str().and_then(phone_of).filter(|_| status == Status::Connected);
    Ok(Session { status, detail: word.to_owned(), phone })
}

fn ack(delivery: &Value) -> Result<StatusUpdate, &'static str> {
    let payload = &delivery["payload"];
    let id = message_id(payload).ok_or("unreadable")?;
    if payload["fromMe"] == false || payload["id"].as_str().is_some_and(|id| id.starts_with("false_")) {
        return Err("not_ours");
    }
    let ack = payload["ack"].as_f64().map(|ack| ack as i64).or_else(|| match payload["ackName"].as_str() {
        Some("ERROR") => Some(-1),
        Some("PENDING") => Some(0),
        Some("SERVER") => Some(1),
        Some("DEVICE") => Some(2),
        Some("READ") => Some(3),
        Some("PLAYED") => Some(4),
        _ => None,
    });
    let mut error = None;
    let status = match ack.ok_or("unreadable")? {
        -1 => {
            error = Some(("ack_error".to_owned(), "WhatsApp reported that it could not be sent.".to_owned()));
            MessageStatus::Failed
        }
        // WAHA has it, WhatsApp does not yet.
        0 => return Err("pending"),
        1 => MessageStatus::Sent,
        2 => MessageStatus::Delivered,
        3 | 4 => MessageStatus::Read,
        _ => return Err("unknown_ack"),
    };
    Ok(StatusUpdate {
        provider_message_id: Some(id.to_owned()),
        message: message_of(id),
        status,
        at: time_of(&delivery["timestamp"]).unwrap_or_else(Utc::now),
        error,
        pricing: None,
    })
}

fn message(delivery: &Value) -> Result<NewInbound, &'static str> {
    let payload = &delivery["payload"];
    if payload["fromMe"] == true {
        return Err("from_me");
    }
    let id = payload["id"].as_str().or_else(|| message_id(payload)).filter(|id| !id.is_empty()).ok_or("unreadable")?;
    let from = payload["from"].as_str().ok_or("unreadable")?;
    let from = match from.rsplit_once('@') {
        Some((_, "c.us" | "s.whatsapp.net")) => phone_of(from),
        // A hidden id; some engines tell the number beside it.
        Some((_, "lid")) => alternative(payload),
        Some((_, "g.us")) => return Err("group"),
        Some((_, "broadcast" | "newsletter")) => return Err("channel"),
        _ => None,
    };
    let mut body = payload.clone();
    if let Some(fields) = body.as_object_mut() {
        // The engine's raw message: large, and different for each.
        fields.remove("_data");
    }
    Ok(NewInbound {
        provider_message_id: bare_id(id).to_owned(),
        from: from.ok_or("no_number")?,
        name: name(payload),
        kind: kind(payload).to_owned(),
        body,
        at: time_of(&payload["timestamp"]).or_else(|| time_of(&delivery["timestamp"])).unwrap_or_else(Utc::now),
    })
}

/// The number of a sender with a hidden id.
fn alternative(payload: &Value) -> Option<String> {
    [
        "/_data/key/senderPn",
        "/_data/key/remoteJidAlt",
        "/_data/key/participantAlt",
        "/_data/Info/SenderAlt",
        "/_data/senderPn",
    ]
    .iter()
    .find_map(|pointer| payload.pointer(pointer).and_then(Value::as_str).and_then(phone_of))
}

fn name(payload: &Value) -> String {
    ["/_data/notifyName", "/_data/pushName", "/_data/Info/PushName", "/notifyName"]
        .iter()
        .find_map(|pointer| payload.pointer(pointer).and_then(Value::as_str))
        .unwrap_or_default()
        .to_owned()
}

/// In the words of our own messages.
fn kind(payload: &Value) -> &'static str {
    if payload["location"].is_object() {
        return "location";
    }
    if payload["vCards"].as_array().is_some_and(|cards| !cards.is_empty()) {
        return "contacts";
    }
    if payload["hasMedia"] != true {
        return "text";
    }
    match payload["media"]["mimetype"].as_str().unwrap_or_default().split('/').next() {
        Some("image") => "image",
        Some("video") => "video",
        Some("audio") => "audio",
        _ => "document",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::waha::chosen_id;
    use domain::ids::MessageId;
    use serde_json::json;

    fn delivery(event: &str, payload: Value) -> Value {
        json!({
            "id": "evt_01aaaaaaaaaaaaaaaaaaaaaaaa", "timestamp": 1_700_000_002_000u64, "event": event, "session": "default",
            "metadata": {}, "me": { "id": "60111111111@c.us", "pushName": "Shop" }, "payload": payload,
            "engine": "WEBJS", "environment": { "version": "2026.7.1", "engine": "WEBJS", "tier": "PLUS" },
        })
    }

    /// The examples of WAHA's documentation.
    #[test]
    fn reads_the_documented_examples() {
        let text = delivery(
            "message",
            json!({
                "id": "false_11111111111@c.us_AAAAAAAAAAAAAAAAAAAA", "timestamp": 1_667_561_485, "from": "11111111111@c.us",
                "fromMe": false, "source": "app", "to": "60111111111@c.us", "body": "Hi there!", "hasMedia": false, "ack": 1,
                "vCards": [], "_data": { "notifyName": "Ada", "large": "x" },
            }),
        );
        let told = parse(&text, "default");
        assert_eq!(told.ignored, Vec::<&str>::new());
        let [message] = &told.messages[..] else { panic!("{told:?}") };
        assert_eq!(
            (message.from.as_str(), message.name.as_str(), message.kind.as_str(), message.provider_message_id.as_str()),
            ("11111111111", "Ada", "text", "AAAAAAAAAAAAAAAAAAAA")
        );
        assert_eq!(message.body["body"], "Hi there!");
        assert_eq!(message.body["_data"], Value::Null);
        assert_eq!(message.at.timestamp(), 1_667_561_485);

        let id = MessageId::new();
        let read = json!({
            "id": format!("true_11111111111@c.us_{}", chosen_id(id)), "from": "11111111111@c.us", "participant": null,
            "fromMe": true, "ack": 3, "ackName": "READ",
        });
        let told = parse(&delivery("message.ack", read), "default");
        let [status] = &told.statuses[..] else { panic!("{told:?}") };
        assert_eq!((status.status, status.message), (MessageStatus::Read, Some(id)));
        assert_eq!(status.at.timestamp_millis(), 1_700_000_002_000);

        let working = json!({
            "status": "WORKING", "statuses": [{ "status": "STARTING", "timestamp": 1_700_000_002_000u64 }], "data": null,
        });
        let (session, at) = parse(&delivery("session.status", working), "default").session.unwrap();
        assert_eq!((session.status, session.phone.as_deref()), (Status::Connected, Some("60111111111")));
        assert_eq!(at.unwrap().timestamp_millis(), 1_700_000_002_000);
    }

    #[test]
    fn each_ack_has_its_status() {
        let ack = |ack: Value| {
            let told = parse(
                &delivery("message.ack", json!({ "id": "true_1@c.us_AA", "fromMe": true, "ack": ack })),
                "default",
            );
            told.statuses.first().map(|status| status.status)
        };
        assert_eq!(ack(json!(-1)), Some(MessageStatus::Failed));
        assert_eq!(ack(json!(0)), None);
        assert_eq!(ack(json!(1)), Some(MessageStatus::Sent));
        assert_eq!(ack(json!(2)), Some(MessageStatus::Delivered));
        assert_eq!(ack(json!(3)), Some(MessageStatus::Read));
        assert_eq!(ack(json!(4)), Some(MessageStatus::Read));
        assert_eq!(ack(json!(9)), None);
        let by_name = json!({ "id": "true_1@c.us_AA", "fromMe": true, "ackName": "DEVICE" });
        assert_eq!(parse(&delivery("message.ack", by_name), "default").statuses[0].status, MessageStatus::Delivered);
    }

    #[test]
    fn what_is_not_for_us_is_left_out_and_counted() {
        let from =
            |from: &str| json!({ "id": "false_x_AA", "from": from, "fromMe": false, "timestamp": 1, "body": "x" });
        for (event, payload, why) in [
            ("message", from("123-456@g.us"), "group"),
            ("message", from("status@broadcast"), "channel"),
            ("message", from("123@newsletter"), "channel"),
            ("message", from("123456789@lid"), "no_number"),
            ("message", from("nonsense"), "no_number"),
            ("message", json!({ "id": "true_1@c.us_A", "from": "60123456789@c.us", "fromMe": true }), "from_me"),
            ("message", json!({}), "unreadable"),
            ("message", json!(null), "unreadable"),
            ("message.ack", json!({ "id": "true_1@c.us_A", "fromMe": true, "ack": 0 }), "pending"),
            ("message.ack", json!({ "id": "true_1@c.us_A", "fromMe": true, "ack": 77 }), "unknown_ack"),
            ("message.ack", json!({ "id": "false_1@c.us_A", "fromMe": false, "ack": 3 }), "not_ours"),
            ("message.ack", json!("x"), "unreadable"),
            ("session.status", json!({ "status": "DREAMING" }), "unknown_session_status"),
            ("session.status", json!({}), "unreadable"),
            ("presence.update", json!({}), "unknown_event"),
        ] {
            let told = parse(&delivery(event, payload.clone()), "default");
            assert_eq!(told.ignored, [why], "{event} {payload}");
            assert!(told.is_empty(), "{event} {payload}");
        }
        assert_eq!(parse(&delivery("message", from("60123456789@c.us")), "other").ignored, ["foreign_session"]);
        for nothing in [json!(null), json!([]), json!({}), json!("x"), json!({ "session": "default" })] {
            assert!(parse(&nothing, "default").is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_hidden_id_with_its_number_beside_it_is_a_person() {
        let payload = json!({
            "id": "false_123@lid_AA", "from": "123@lid", "fromMe": false, "timestamp": 1_667_561_485, "body": "x",
            "hasMedia": true, "media": { "mimetype": "image/jpeg", "url": "http://waha/api/files/a.jpg" },
            "_data": { "key": { "senderPn": "60123456789@s.whatsapp.net" }, "pushName": "Bo" },
        });
        let told = parse(&delivery("message", payload), "default");
        let [message] = &told.messages[..] else { panic!("{told:?}") };
        assert_eq!(
            (message.from.as_str(), message.kind.as_str(), message.name.as_str()),
            ("60123456789", "image", "Bo")
        );
    }
}
