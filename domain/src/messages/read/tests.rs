use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn read(value: Value) -> Result<Body, Vec<String>> {
    let Value::Object(map) = value else { panic!("an object") };
    let mut object = Object::new(map);
    let body = body(&mut object);
    match object.finish() {
        Ok(()) => Ok(body.expect("a body without a complaint")),
        Err(errors) => Err(errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()),
    }
}

fn fields(value: Value) -> Vec<String> {
    let errors = read(value).unwrap_err();
    errors.into_iter().map(|error| error.split(": ").next().unwrap_or_default().to_owned()).collect()
}

/// What Meta's documents leave for the reader to fill in.
fn fill_in(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("http(s)://") => *text = "https://shop.example/a.bin".into(),
        Value::Array(items) => items.iter_mut().for_each(fill_in),
        Value::Object(map) => map.values_mut().for_each(fill_in),
        _ => {}
    }
}

#[test]
fn metas_own_examples_are_accepted_as_they_stand() {
    let examples: Map<String, Value> =
        serde_json::from_str(include_str!("../../../tests/fixtures/meta/send-examples.json")).unwrap();
    let mut accepted = 0;
    for (name, mut example) in examples {
        let kind = example["type"].as_str().unwrap_or("text").to_owned();
        // Read receipts, and kinds that are not among ours.
        if ["status", "interactive", "reaction"].iter().any(|field| example.get(field).is_some()) {
            continue;
        }
        fill_in(&mut example);
        let mut body = json!({ "type": kind });
        body[&kind] = example[&kind].clone();
        if name == "Send Sample Issue Resolution Template" {
            // Its quick replies carry `true` and `false` where Meta's own reference has a text.
            assert_eq!(
                fields(body),
                ["template.components[1].parameters[0].text", "template.components[2].parameters[0].text"]
            );
            continue;
        }
        let read = read(body.clone()).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        assert_eq!(read.kind(), kind);
        // Nothing of it is lost on the way to the provider, but for the one policy there is.
        let sent = serde_json::to_value(&read).unwrap();
        if let Some(language) = body["template"]["language"].as_object_mut() {
            language.remove("policy");
        }
        assert_same(&name, &body[&kind], &sent[&kind]);
        assert_eq!(serde_json::from_value::<Body>(sent).unwrap(), read, "{name}");
        accepted += 1;
    }
    assert_eq!(accepted, 35);
}

/// Everything asked for is there; numbers as texts count as numbers, words in capitals as words.
fn assert_same(name: &str, asked: &Value, sent: &Value) {
    match (asked, sent) {
        (Value::Object(asked), Value::Object(sent)) => {
            for (field, value) in asked {
                if value == &json!(false) && !sent.contains_key(field) {
                    continue;
                }
                assert_same(&format!("{name}/{field}"), value, sent.get(field).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(asked), Value::Array(sent)) => {
            assert_eq!(asked.len(), sent.len(), "{name}");
            for (asked, sent) in asked.iter().zip(sent) {
                assert_same(name, asked, sent);
            }
        }
        (Value::String(asked), Value::String(sent)) => assert!(asked.eq_ignore_ascii_case(sent), "{name}: {sent}"),
        (Value::String(asked), Value::Number(sent)) => assert_eq!(asked.parse().ok(), sent.as_f64(), "{name}"),
        (Value::Number(asked), Value::String(sent)) => assert_eq!(&asked.to_string(), sent, "{name}"),
        _ => assert_eq!(asked, sent, "{name}"),
    }
}

#[test]
fn the_shortest_way_to_say_something() {
    assert_eq!(read(json!({ "message": "Hi" })), Ok(Body::text("Hi")));
    assert_eq!(read(json!({ "type": "text", "message": "Hi" })), Ok(Body::text("Hi")));
    assert_eq!(read(json!({ "text": { "body": "Hi" } })), Ok(Body::text("Hi")));
    assert_eq!(
        read(json!({ "type": "text", "text": { "body": "Hi", "preview_url": true } })),
        Ok(Body::Text(Text { body: "Hi".into(), preview_url: true }))
    );
    // What is not there may be null.
    assert_eq!(read(json!({ "message": "Hi", "type": null, "image": null, "template": null })), Ok(Body::text("Hi")));
    assert_eq!(read(json!({ "message": null, "text": { "body": "Hi" } })), Ok(Body::text("Hi")));
    assert_eq!(read(json!({ "message": "ä".repeat(TEXT_MAX) })).map(|body| body.kind()), Ok("text"));
}

#[test]
fn special_components_of_templates() {
    let read = |components: Value| {
        let body = json!({ "type": "template", "template": {
            "name": "offer", "language": { "code": "en_US" }, "components": components } });
        match read(body) {
            Ok(Body::Template(template)) => Ok(template.components),
            Ok(other) => panic!("{other:?}"),
            Err(errors) => Err(errors),
        }
    };
    // One for each row of the table of special components in Meta's documents.
    let carousel = json!([{ "type": "carousel", "cards": [{ "card_index": 0, "components": [
        { "type": "header", "parameters": [{ "type": "image", "image": { "id": "1" } }] },
        { "type": "button", "sub_type": "quick_reply", "index": "0", "parameters": [{ "type": "payload", "payload": "more" }] },
        { "type": "button", "sub_type": "url", "index": "1", "parameters": [{ "type": "text", "text": "blue-elf" }] }] }] }]);
    let Ok([Component::Carousel { cards }]) =
        read(carousel).as_deref().map(|c| <[_; 1]>::try_from(c.to_vec()).unwrap())
    else {
        panic!("a carousel")
    };
    assert_eq!((cards[0].card_index, cards[0].components.len()), (0, 3));
    for components in [
        json!([{ "type": "body", "parameters": [{ "type": "text", "text": "123456" }] },
               { "type": "button", "sub_type": "url", "index": "0", "parameters": [{ "type": "text", "text": "123456" }] }]),
        json!([{ "type": "header", "parameters": [{ "type": "product",
                 "product": { "product_retailer_id": "nqryix03ez", "catalog_id": "194836987003835" } }] }]),
        json!([{ "type": "button", "sub_type": "mpm", "index": 0, "parameters": [{ "type": "action", "action": {
                 "thumbnail_product_retailer_id": "a",
                 "sections": [{ "title": "Bulbs", "product_items": [{ "product_retailer_id": "a" }] }] } }] }]),
        json!([{ "type": "button", "sub_type": "CATALOG", "index": 0,
                 "parameters": [{ "type": "action", "action": { "thumbnail_product_retailer_id": "2lc20305pt" } }] }]),
        json!([{ "type": "button", "sub_type": "COPY_CODE", "index": 1,
                 "parameters": [{ "type": "coupon_code", "coupon_code": "25OFF" }] }]),
        json!([{ "type": "limited_time_offer", "parameters": [{ "type": "limited_time_offer",
                 "limited_time_offer": { "expiration_time_ms": 1_209_600_000_000i64 } }] }]),
        json!([{ "type": "HEADER", "parameters": [{ "type": "location",
                 "location": { "latitude": "37.48", "longitude": "-122.14", "name": "Here", "address": "1 Way" } }] }]),
        json!([{ "type": "body", "parameters": [
                 { "type": "text", "parameter_name": "b", "text": "2" }, { "type": "text", "parameter_name": "a", "text": "1" }] }]),
    ] {
        let read = read(components.clone()).unwrap_or_else(|errors| panic!("{components}: {errors:?}"));
        // Order is kept: positional parameters go by it.
        assert_same("components", &components, &serde_json::to_value(&read).unwrap());
    }
}

#[test]
fn everything_wrong_is_named_by_its_path() {
    let template = |components: Value| {
        json!({ "type": "template", "template": {
        "name": "offer", "language": { "code": "en_US" }, "components": components } })
    };
    for (body, wrong) in [
        (json!({}), vec!["message"]),
        (json!({ "message": "" }), vec!["message"]),
        (json!({ "message": " \n " }), vec!["message"]),
        (json!({ "message": null }), vec!["message"]),
        (json!({ "message": 1 }), vec!["message"]),
        (json!({ "message": "x".repeat(TEXT_MAX + 1) }), vec!["message"]),
        (json!({ "message": "x", "text": { "body": "x" } }), vec!["message"]),
        (json!({ "type": "image", "message": "x" }), vec!["image", "message"]),
        (json!({ "type": "fax", "fax": {}, "message": "x" }), vec!["type", "fax"]),
        (json!({ "type": 1, "message": "x" }), vec!["type"]),
        (json!({ "type": "text", "text": "Hi" }), vec!["text"]),
        (
            json!({ "type": "text", "text": { "body": "Hi", "preview_url": "yes", "x": 1 } }),
            vec!["text.preview_url", "text.x"],
        ),
        (json!({ "type": "image", "image": {} }), vec!["image.link"]),
        (json!({ "type": "image", "image": { "link": "https://a.example/x", "id": "1" } }), vec!["image.id"]),
        (json!({ "type": "image", "image": { "link": "http://a.example/x" } }), vec!["image.link"]),
        (json!({ "type": "image", "image": { "link": "https://" } }), vec!["image.link"]),
        (json!({ "type": "image", "image": { "link": "https://u:p@a.example/x" } }), vec!["image.link"]),
        (
            json!({ "type": "image", "image": { "link": format!("https://a.example/{}", "x".repeat(2_000)) } }),
            vec!["image.link"],
        ),
        (json!({ "type": "image", "image": { "link": "ééééé" } }), vec!["image.link"]),
        (json!({ "type": "audio", "audio": { "id": "1", "caption": "x" } }), vec!["audio.caption"]),
        (
            json!({ "type": "document", "document": { "id": "1", "caption": "x".repeat(1_025) } }),
            vec!["document.caption"],
        ),
        (
            json!({ "type": "location", "location": { "latitude": 90.1, "longitude": "west" } }),
            vec!["location.latitude", "location.longitude"],
        ),
        (
            json!({ "type": "location", "location": { "latitude": "NaN", "longitude": "inf" } }),
            vec!["location.latitude", "location.longitude"],
        ),
        (json!({ "type": "contacts", "contacts": [] }), vec!["contacts"]),
        (
            json!({ "type": "contacts", "contacts": [{ "phones": [{}] }] }),
            vec!["contacts[0].name", "contacts[0].phones[0].phone"],
        ),
        (
            json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "A" }, "birthday": "3 May" }] }),
            vec!["contacts[0].birthday"],
        ),
        (json!({ "type": "template", "template": { "name": "x", "language": "en" } }), vec!["template.language"]),
        (template(json!([{ "type": "footer", "text": "x" }])), vec!["template.components[0].type"]),
        (
            template(
                json!([{ "type": "carousel", "cards": [{ "card_index": 0, "components": [{ "type": "carousel", "cards": [] }] }] }]),
            ),
            vec!["template.components[0].cards[0].components[0].type"],
        ),
        (
            template(json!([{ "type": "button", "sub_type": "fly", "parameters": [{ "type": "text" }] }])),
            vec![
                "template.components[0].sub_type",
                "template.components[0].index",
                "template.components[0].parameters[0].text",
            ],
        ),
        (
            template(json!([{ "type": "button", "sub_type": "url", "index": "ten", "parameters": [] }])),
            vec!["template.components[0].index"],
        ),
        (
            template(json!([{ "type": "button", "sub_type": "url", "index": 10, "parameters": [] }])),
            vec!["template.components[0].index"],
        ),
        (
            template(
                json!([{ "type": "body", "parameters": [{ "type": "currency", "parameter_name": "p", "currency": { "code": "usd", "amount_1000": 1.5 } }] }]),
            ),
            vec![
                "template.components[0].parameters[0].currency.fallback_value",
                "template.components[0].parameters[0].currency.code",
                "template.components[0].parameters[0].currency.amount_1000",
            ],
        ),
        (
            template(
                json!([{ "type": "button", "sub_type": "mpm", "index": 0, "parameters": [{ "type": "action", "action": {
            "sections": [{ "title": "a", "product_items": vec![json!({ "product_retailer_id": "x" }); 20] },
                         { "title": "b", "product_items": vec![json!({ "product_retailer_id": "x" }); 11] }] } }] }]),
            ),
            vec!["template.components[0].parameters[0].action.sections"],
        ),
        (
            template(
                json!([{ "type": "button", "sub_type": "mpm", "index": 0, "parameters": [{ "type": "action", "action": {
            "sections": vec![json!({ "title": "a", "product_items": [{ "product_retailer_id": "x" }] }); 11] } }] }]),
            ),
            vec!["template.components[0].parameters[0].action.sections"],
        ),
    ] {
        assert_eq!(fields(body.clone()), wrong, "{body}");
    }
}

/// Any JSON whatsoever.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-200.0..200.0f64).prop_map(Value::from),
        "[a-z<>/: ]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["https://a.example/x", "text", "image", "body", "button", "url", "0", "en_US"])
            .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "type",
        "message",
        "text",
        "body",
        "image",
        "link",
        "id",
        "caption",
        "location",
        "latitude",
        "longitude",
        "contacts",
        "name",
        "formatted_name",
        "phones",
        "phone",
        "template",
        "language",
        "code",
        "components",
        "sub_type",
        "index",
        "parameters",
        "cards",
        "card_index",
        "action",
        "sections",
        "product_items",
        "currency",
        "amount_1000",
        "flow_action_data",
        "unknown",
    ]);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    /// Whatever comes is read whole or complained about, and what was read is what is stored.
    #[test]
    fn whatever_comes_is_a_body_or_a_complaint(
        kind in prop::sample::select(Body::KINDS.to_vec()),
        inner in anything(),
        other in anything(),
    ) {
        for value in [json!({ "type": kind, kind: inner }), json!({ "message": other })] {
            if let Ok(read) = read(value) {
                let stored = serde_json::to_value(&read).unwrap();
                prop_assert_eq!(serde_json::from_value::<Body>(stored).unwrap(), read);
            }
        }
    }
}
