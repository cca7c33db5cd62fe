//! Templates: what of a provider's listing is understood, the check of what is filled in, and the store.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use chrono::{Duration, Utc};
use common::World;
use domain::{
    Error,
    audit::{Change, store as audit},
    ids::{InstanceId, OrgId, TemplateId},
    messages::body,
    templates::{
        Listed, ParameterFormat, Template, TemplateForm, check,
        check::not_there,
        store::{self, Filter, Synced, TemplatePatch},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// Sources and licences: `fixtures/templates/README.md`.
const LISTING: &str = include_str!("fixtures/templates/listing.json");
const CREATE: &str = include_str!("fixtures/templates/create.json");

fn listing() -> Vec<Listed> {
    let document: Value = serde_json::from_str(LISTING).unwrap();
    document["data"].as_array().unwrap().iter().map(|entry| Listed::parse(entry).unwrap()).collect()
}

fn template(listed: Listed) -> Template {
    Template {
        id: TemplateId(Uuid::nil()),
        instance_id: InstanceId(Uuid::nil()),
        provider_id: listed.provider_id,
        name: listed.name,
        language: listed.language,
        category: listed.category,
        previous_category: None,
        status: listed.status,
        parameter_format: listed.parameter_format,
        components: listed.components,
        synced_at: chrono::Utc::now(),
    }
}

fn named(name: &str) -> Template {
    template(listing().into_iter().find(|listed| listed.name == name).unwrap())
}

/// What is filled in, in Meta's form.
fn filled(template: &Template, components: Value) -> body::Template {
    serde_json::from_value(json!({
        "name": template.name, "language": { "code": template.language }, "components": components,
    }))
    .unwrap()
}

fn texts(texts: &[&str]) -> Value {
    texts.iter().map(|text| json!({ "type": "text", "text": text })).collect()
}

fn body_of(words: &[&str]) -> Value {
    json!({ "type": "body", "parameters": texts(words) })
}

fn url(index: u8, text: &str) -> Value {
    json!({ "type": "button", "sub_type": "url", "index": index.to_string(), "parameters": texts(&[text]) })
}

fn image() -> Value {
    json!({ "type": "header", "parameters": [{ "type": "image", "image": { "id": "2871834006348767" } }] })
}

fn product() -> Value {
    let product = json!({ "product_retailer_id": "nqryix03ez", "catalog_id": "194836987003835" });
    json!({ "type": "header", "parameters": [{ "type": "product", "product": product }] })
}

fn code(in_body: &str, in_button: &str) -> Value {
    json!([body_of(&[in_body]), url(0, in_button)])
}

fn reservation(names: &[&str]) -> Value {
    let parameters: Value =
        names.iter().map(|name| json!({ "type": "text", "parameter_name": name, "text": "4" })).collect();
    json!([image(), { "type": "body", "parameters": parameters }])
}

fn media_cards(count: u8) -> Value {
    let cards: Value = (0..count)
        .map(|index| json!({ "card_index": index, "components": [image(),
            { "type": "button", "sub_type": "quick_reply", "index": "0", "parameters": [{ "type": "payload", "payload": "more" }] },
            url(1, "blue-elf")] }))
        .collect();
    json!([body_of(&["Pablo", "30%", "30OFF"]), { "type": "carousel", "cards": cards }])
}

fn product_cards(count: u8) -> Value {
    let cards: Value = (0..count).map(|index| json!({ "card_index": index, "components": [product()] })).collect();
    json!([body_of(&["Pablo"]), { "type": "carousel", "cards": cards }])
}

fn cart(sections: Value) -> Value {
    let action = json!({ "thumbnail_product_retailer_id": "2lc20305pt", "sections": sections });
    json!([
        { "type": "header", "parameters": texts(&["Pablo"]) },
        body_of(&["10OFF"]),
        { "type": "button", "sub_type": "mpm", "index": "0", "parameters": [{ "type": "action", "action": action }] },
    ])
}

fn offer() -> Value {
    json!([
        image(),
        { "type": "limited_time_offer", "parameters": [
            { "type": "limited_time_offer", "limited_time_offer": { "expiration_time_ms": 1_900_000_000_000_i64 } }] },
        body_of(&["Pablo", "CARIBE25"]),
        { "type": "button", "sub_type": "COPY_CODE", "index": "0", "parameters": [{ "type": "coupon_code", "coupon_code": "CARIBE25" }] },
        url(1, "n3mtql"),
    ])
}

/// For each of the published templates something right.
fn right() -> Vec<(&'static str, Value)> {
    let location = json!({ "latitude": 37.4, "longitude": -122.1, "name": "Depot" });
    let document = json!({ "link": "https://shop.example/receipt.pdf", "filename": "receipt.pdf" });
    let coupon = json!({ "type": "button", "sub_type": "COPY_CODE", "index": "1", "parameters": [{ "type": "coupon_code", "coupon_code": "25OFF" }] });
    let named = json!([{ "type": "text", "parameter_name": "percent", "text": "15%" }, { "type": "text", "parameter_name": "code", "text": "15OFF" }]);
    vec![
        ("reservation_confirmation", reservation(&["time", "day", "date", "number_of_guests"])),
        (
            "coupon_expiration_reminder_number_vars",
            json!([{ "type": "header", "parameters": texts(&["Pablo"]) }, body_of(&["SUMMER20", "10"])]),
        ),
        ("carousel_template_media_cards_v1", media_cards(3)),
        ("carousel_template_product_cards_v1", product_cards(3)),
        ("authentication_code_copy_code_button", code("123456", "123456")),
        ("authentication_code_autofill_button", code("J$FpnYnP", "J$FpnYnP")),
        ("abandoned_cart", cart(json!([{ "title": "Bundles", "product_items": [{ "product_retailer_id": "lc8" }] }]))),
        ("spm_template_named_params", json!([product(), { "type": "body", "parameters": named }])),
        (
            "order_delivery_update",
            json!([{ "type": "header", "parameters": [{ "type": "location", "location": location }] }, body_of(&["Mark", "566701"])]),
        ),
        (
            "order_confirmation",
            json!([{ "type": "header", "parameters": [{ "type": "document", "document": document }] }, body_of(&["Pablo", "860198"])]),
        ),
        ("coupon_code_fall2023_25off", json!([body_of(&["25OFF", "25%"]), coupon])),
        ("limited_time_offer_caribbean_pkg_2023", offer()),
    ]
}

#[test]
fn every_published_template_takes_what_is_right() {
    let cases = right();
    let mut names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    let mut all: Vec<String> = listing().into_iter().map(|listed| listed.name).collect();
    names.sort_unstable();
    all.sort_unstable();
    assert_eq!(names, all, "each template has a case");
    for (name, components) in cases {
        let template = named(name);
        assert_eq!(check(&template, &filled(&template, components)), [], "{name}");
    }
}

/// Without anything filled in each of them has something to say, and without one of its parts too.
#[test]
fn no_part_may_be_missing() {
    for (name, components) in right() {
        let template = named(name);
        assert!(!check(&template, &filled(&template, json!([]))).is_empty(), "{name}");
        let parts = components.as_array().unwrap();
        for missing in 0..parts.len() {
            let mut less = parts.clone();
            less.remove(missing);
            let errors = check(&template, &filled(&template, less.into()));
            assert_eq!(errors.len(), 1, "{name} without {missing}: {errors:?}");
            assert_eq!(errors[0].field, "template.components", "{name} without {missing}");
        }
        for twice in 0..parts.len() {
            let mut more = parts.clone();
            more.push(parts[twice].clone());
            let errors = check(&template, &filled(&template, more.into()));
            assert_eq!(errors[0].message, "This component is there twice.", "{name} with {twice} twice");
            assert_eq!(errors[0].field, format!("template.components[{}]", parts.len()));
        }
    }
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let c = "template.components";
    let video = json!({ "type": "header", "parameters": [{ "type": "video", "video": { "id": "1" } }] });
    let two_images = json!({ "type": "header", "parameters": [image()["parameters"][0], image()["parameters"][0]] });
    let mut wrong_card = media_cards(3);
    wrong_card[1]["cards"][2]["components"][0] = video.clone();
    let mut same_index = media_cards(3);
    same_index[1]["cards"][1]["card_index"] = json!(0);
    let mut far_index = media_cards(3);
    far_index[1]["cards"][1]["card_index"] = json!(7);
    let mut offer_in_card = media_cards(3);
    offer_in_card[1]["cards"][0]["components"].as_array_mut().unwrap().push(offer()[1].clone());
    type Case = (&'static str, Value, &'static [(&'static str, &'static str)]);
    let cases: Vec<Case> = vec![
        (
            "coupon_expiration_reminder_number_vars",
            json!([{ "type": "header", "parameters": texts(&["Pablo"]) }, body_of(&["SUMMER20"])]),
            &[(".[1].parameters", "The body has 2 variables ({{1}}, {{2}}); the parameters given are 1.")],
        ),
        (
            "coupon_expiration_reminder_number_vars",
            json!([image(), body_of(&["", "10"])]),
            &[
                (".[0].parameters[0].type", "A variable takes text, currency or date_time; this is image."),
                (".[1].parameters[0].text", "This must not be empty."),
            ],
        ),
        (
            "coupon_expiration_reminder_number_vars",
            json!([{ "type": "header", "parameters": [{ "type": "text", "parameter_name": "a", "text": "Pablo" }] }, body_of(&["1", "2"])]),
            &[(
                ".[0].parameters[0].parameter_name",
                "This template's variables have no names: leave this out, and give the parameters in order.",
            )],
        ),
        (
            "reservation_confirmation",
            reservation(&["time", "day", "date"]),
            &[(".[1].parameters", "Missing: number_of_guests.")],
        ),
        (
            "reservation_confirmation",
            reservation(&["time", "day", "date", "guests"]),
            &[
                (
                    ".[1].parameters[3].parameter_name",
                    "The body has no variable “guests”; it has 4 variables ({{number_of_guests}}, {{day}}, {{date}}, {{time}}).",
                ),
                (".[1].parameters", "Missing: number_of_guests."),
            ],
        ),
        (
            "reservation_confirmation",
            reservation(&["time", "day", "date", "date", "number_of_guests"]),
            &[(".[1].parameters[3].parameter_name", "“date” is there twice.")],
        ),
        (
            "reservation_confirmation",
            json!([video, reservation(&["time", "day", "date", "number_of_guests"])[1]]),
            &[(".[0].parameters[0].type", "The header needs an image; this is of the type video.")],
        ),
        (
            "reservation_confirmation",
            json!([two_images, reservation(&["time", "day", "date", "number_of_guests"])[1]]),
            &[(".[0].parameters", "The header needs one parameter, an image; these are 2.")],
        ),
        (
            "reservation_confirmation",
            json!([
                image(),
                reservation(&["time", "day", "date", "number_of_guests"])[1],
                url(0, "x"),
                url(1, "y"),
                url(3, "z")
            ]),
            &[
                (".[2].parameters", "This link has no variable."),
                (".[3].parameters", "The phone number button takes no parameters."),
                (".[4].index", "The template has 3 buttons, with the indexes 0 to 2."),
            ],
        ),
        (
            "authentication_code_copy_code_button",
            code("123456", "654321"),
            &[(".[1].parameters[0].text", "The code in the button must be the one in the body.")],
        ),
        (
            "authentication_code_copy_code_button",
            code("1234567890123456", "1234567890123456"),
            &[(".[1].parameters[0].text", "A code has at most 15 characters; this one has 16.")],
        ),
        (
            "abandoned_cart",
            cart(json!([])),
            &[(
                ".[2].parameters[0].action.sections",
                "Name the products to show: at least one section with one product.",
            )],
        ),
        (
            "coupon_code_fall2023_25off",
            json!([body_of(&["25OFF", "25%"]), url(1, "25OFF")]),
            &[(".[1].sub_type", "The button at this index is a coupon code button: its sub_type is COPY_CODE.")],
        ),
        (
            "coupon_code_fall2023_25off",
            json!([offer()[1], body_of(&["25OFF", "25%"]), { "type": "carousel", "cards": [] },
                { "type": "button", "sub_type": "COPY_CODE", "index": "1", "parameters": [{ "type": "coupon_code", "coupon_code": " " }] }]),
            &[
                (".[3].parameters[0].coupon_code", "This must not be empty."),
                (".[0]", "The template has no limited-time offer."),
                (".[2]", "The template is no carousel."),
            ],
        ),
        (
            "carousel_template_media_cards_v1",
            media_cards(2),
            &[(".[1].cards", "The template has 3 cards; these are 2.")],
        ),
        (
            "carousel_template_product_cards_v1",
            product_cards(1),
            &[(".[1].cards", "A carousel of products shows 2 to 10 cards; these are 1.")],
        ),
        (
            "carousel_template_media_cards_v1",
            wrong_card,
            &[(
                ".[1].cards[2].components[0].parameters[0].type",
                "The header needs an image; this is of the type video.",
            )],
        ),
        (
            "carousel_template_media_cards_v1",
            same_index,
            &[(".[1].cards[1].card_index", "There is already a card with this index.")],
        ),
        (
            "carousel_template_media_cards_v1",
            far_index,
            &[(".[1].cards[1].card_index", "Cards are numbered from 0, without gaps.")],
        ),
        (
            "carousel_template_media_cards_v1",
            offer_in_card,
            &[(".[1].cards[0].components[3]", "A card has a header, a body and buttons only.")],
        ),
    ];
    for (name, components, expected) in cases {
        let template = named(name);
        let found: Vec<(String, String)> = check(&template, &filled(&template, components.clone()))
            .into_iter()
            .map(|error| (error.field, error.message))
            .collect();
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(path, message)| (format!("{c}{}", path.strip_prefix('.').unwrap()), (*message).to_owned()))
            .collect();
        assert_eq!(found, expected, "{name} {components}");
    }
}

#[test]
fn only_approved_templates_in_their_language_are_sent() {
    let template = named("coupon_code_fall2023_25off");
    let (_, components) = right().into_iter().find(|(name, _)| *name == template.name).unwrap();
    let filled = filled(&template, components);
    for status in ["PAUSED", "REJECTED", "", "SOMETHING_NEW"] {
        let template = Template { status: status.into(), ..template.clone() };
        let errors = check(&template, &filled);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].field, "template.name");
        assert!(errors[0].message.contains(if status.is_empty() { "unknown" } else { status }), "{errors:?}");
    }
    let other = Template { language: "de".into(), ..template };
    assert_eq!(check(&other, &filled)[0].field, "template.language.code");
    assert_eq!(not_there(&filled, &[]).field, "template.name");
    assert_eq!(
        not_there(&filled, &["de".into(), "fr".into()]).message,
        "The template “coupon_code_fall2023_25off” is not there in en_US, but in de, fr."
    );
}

/// What Meta's documents create is what may be created here.
#[test]
fn every_published_creation_is_accepted() {
    let all: Value = serde_json::from_str(CREATE).unwrap();
    for (name, payload) in all.as_object().unwrap() {
        let text = |field: &str| payload[field].as_str().unwrap().to_owned();
        let form = TemplateForm {
            name: text("name"),
            language: text("language"),
            category: text("category"),
            parameter_format: None,
            components: payload["components"].clone(),
        };
        let listed = form.parse().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        assert_eq!(listed.parameter_format, ParameterFormat::Positional, "{name}");
        assert_eq!(listed.components, payload["components"], "{name}: words are in capitals already");
    }
    assert_eq!(all.as_object().unwrap().len(), 13);
}

proptest! {
    /// Whatever a template is and whatever is filled in, the check ends, and its paths begin where the template stands.
    #[test]
    fn the_check_never_panics(one in 0usize..12, other in 0usize..12, drop in 0usize..6) {
        let cases = right();
        let template = named(cases[one].0);
        let mut components = cases[other].1.as_array().unwrap().clone();
        if drop < components.len() {
            components.remove(drop);
        }
        let errors = check(&template, &filled(&template, components.into()));
        prop_assert!(errors.iter().all(|error| error.field.starts_with("template.") && !error.message.is_empty()));
    }
}

async fn instance(pool: &PgPool, organization: OrgId, provider: &str) -> InstanceId {
    let id = InstanceId::new();
    sqlx::query("insert into instances (id, organization_id, name, provider, settings, created_by_name) values ($1, $2, $3, $4, '{}', 'test')")
        .bind(id.0)
        .bind(organization.0)
        .bind(format!("{provider} {id}"))
        .bind(provider)
        .execute(pool)
        .await
        .unwrap();
    id
}

async fn all(world: &World, instance: InstanceId) -> Vec<Template> {
    let filter = Filter { instance: Some(instance), ..Filter::default() };
    store::list(&world.db, world.org(), &filter, 100, None).await.unwrap().templates
}

async fn events(pool: &PgPool) -> Vec<(String, Value)> {
    sqlx::query_as("select kind, data from events order by id").fetch_all(pool).await.unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_listing_is_taken_over_again_and_again(pool: PgPool) {
    let world = World::new(&pool).await;
    let instance = instance(&pool, world.org(), "cloud_api").await;
    let sync = async |listed: &[Listed]| store::sync(&world.db, None, world.org(), instance, listed).await.unwrap();
    let mut listed = listing();
    assert_eq!(sync(&listed).await, Synced { listed: 12, added: 12, ..Synced::default() });
    let first = all(&world, instance).await;
    assert_eq!(first.len(), 12);
    let one = first.iter().find(|template| template.name == "reservation_confirmation").unwrap();
    assert_eq!((one.parameter_format, one.provider_id.as_deref()), (ParameterFormat::Named, Some("1387372356726668")));
    assert_eq!(one.components, listed[0].components, "kept as it was listed");

    // Nothing new: nothing changes but the time.
    assert_eq!(sync(&listed).await, Synced { listed: 12, ..Synced::default() });
    let again = all(&world, instance).await;
    assert_eq!(again.iter().map(|t| t.id).collect::<Vec<_>>(), first.iter().map(|t| t.id).collect::<Vec<_>>());
    assert!(events(&pool).await.is_empty());

    // One vanishes, one changes its category, one is listed twice, one is new and carries a NUL.
    let gone = listed.pop().unwrap();
    listed[0].category = "MARKETING".into();
    listed.push(Listed { status: "PAUSED".into(), ..listed[1].clone() });
    listed.push(Listed {
        name: "brand_new".into(),
        components: json!([{ "type": "BODY", "text": "a\0b" }]),
        ..listed[2].clone()
    });
    assert_eq!(sync(&listed).await, Synced { listed: 12, added: 1, removed: 1, recategorised: 1 });
    let find =
        async |name: &str, language: &str| store::find(&world.db, world.org(), instance, name, language).await.unwrap();
    assert!(find(&gone.name, &gone.language).await.is_none());
    let changed = find("reservation_confirmation", "en_US").await.unwrap();
    assert_eq!((changed.category.as_str(), changed.previous_category.as_deref()), ("MARKETING", Some("UTILITY")));
    assert_eq!(find(&listed[1].name, &listed[1].language).await.unwrap().status, "PAUSED", "the last one counts");
    assert_eq!(
        find("brand_new", &listed[2].language).await.unwrap().components,
        json!([{ "type": "BODY", "text": "ab" }])
    );
    assert!(find("reservation_confirmation", "en").await.is_none(), "another language is another template");
    assert_eq!(
        store::languages(&world.db, world.org(), instance, "reservation_confirmation").await.unwrap(),
        ["en_US"]
    );
    let told = events(&pool).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "template.category_changed");
    assert_eq!(
        told[0].1,
        json!({ "id": changed.id, "instanceId": instance, "name": "reservation_confirmation", "language": "en_US",
                "previousCategory": "UTILITY", "category": "MARKETING" })
    );

    // What comes back is the same template again, and its past category no news.
    assert_eq!(
        sync(&[Listed { category: "UTILITY".into(), ..gone.clone() }]).await,
        Synced { listed: 1, added: 1, removed: 12, recategorised: 0 }
    );
    let back = find(&gone.name, &gone.language).await.unwrap();
    assert_eq!(back.previous_category, None);
    assert!(first.iter().any(|template| template.id == back.id));
    assert_eq!(events(&pool).await.len(), 1);
    assert_eq!(sync(&[]).await, Synced { removed: 1, ..Synced::default() });
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_provider_tells_of_changes_on_its_own(pool: PgPool) {
    let world = World::new(&pool).await;
    let foreign = world.other_organization().await.organization_id;
    let number = async |organization, account: &str| {
        let id = instance(&pool, organization, "cloud_api").await;
        sqlx::query("update instances set settings = jsonb_build_object('businessAccountId', $2) where id = $1")
            .bind(id.0)
            .bind(account)
            .execute(&pool)
            .await
            .unwrap();
        store::sync(&world.db, None, organization, id, &listing()).await.unwrap();
        id
    };
    let (org, account, name, language) = (world.org(), "102290129340398", "order_confirmation", "en_US");
    let numbers = [number(org, account).await, number(org, account).await];
    let others = [(org, number(org, "another").await), (foreign, number(foreign, account).await)];
    let deleted = number(org, account).await;
    sqlx::query("update instances set deleted_at = now() where id = $1").bind(deleted.0).execute(&pool).await.unwrap();
    let mut tx = world.db.system().begin().await.unwrap();
    assert!(store::set_category(&mut tx, org, account, name, language, "MARKETING").await.unwrap());
    assert!(!store::set_category(&mut tx, org, account, name, language, "MARKETING").await.unwrap(), "told twice");
    assert!(!store::set_category(&mut tx, org, account, "unknown", language, "MARKETING").await.unwrap());
    assert!(store::set_status(&mut tx, org, account, name, language, "paused").await.unwrap());
    assert!(!store::set_status(&mut tx, org, account, name, language, "PAUSED").await.unwrap());
    tx.commit().await.unwrap();
    for instance in numbers {
        let found = store::find(&world.db, org, instance, name, language).await.unwrap().unwrap();
        assert_eq!((found.category.as_str(), found.status.as_str()), ("MARKETING", "PAUSED"));
        assert_eq!(found.previous_category.as_deref(), Some("UTILITY"));
    }
    for (organization, instance) in others {
        let found = store::find(&world.db, organization, instance, name, language).await.unwrap().unwrap();
        assert_eq!((found.category.as_str(), found.status.as_str()), ("UTILITY", "APPROVED"));
    }
    let told: Vec<Value> = events(&pool).await.into_iter().map(|(_, data)| data["instanceId"].clone()).collect();
    assert_eq!(told.len(), 2);
    assert!(numbers.iter().all(|instance| told.contains(&json!(instance))), "{told:?}");
    let mut tx = world.db.system().begin().await.unwrap();
    assert!(store::set_status(&mut tx, org, account, name, language, "DELETED").await.unwrap());
    tx.commit().await.unwrap();
    for instance in numbers {
        assert!(store::find(&world.db, org, instance, name, language).await.unwrap().is_none());
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn lists_are_paged_and_filtered(pool: PgPool) {
    let world = World::new(&pool).await;
    let (one, two) = (instance(&pool, world.org(), "cloud_api").await, instance(&pool, world.org(), "sandbox").await);
    for instance in [one, two] {
        store::sync(&world.db, None, world.org(), instance, &listing()).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store::list(&world.db, world.org(), &Filter::default(), 7, after).await.unwrap();
        seen.extend(page.templates.iter().map(|template| template.id));
        after = page.next;
        if after.is_none() {
            break;
        }
        assert_eq!(page.templates.len(), 7);
    }
    assert_eq!(seen.len(), 24);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice");
    let count =
        async |filter: Filter| store::list(&world.db, world.org(), &filter, 100, None).await.unwrap().templates.len();
    assert_eq!(count(Filter { instance: Some(one), ..Filter::default() }).await, 12);
    assert_eq!(count(Filter { allowed: Some(vec![two]), ..Filter::default() }).await, 12);
    assert_eq!(count(Filter { allowed: Some(vec![]), ..Filter::default() }).await, 0);
    assert_eq!(count(Filter { name: Some("ABANDONED_CART".into()), ..Filter::default() }).await, 2);
    assert_eq!(count(Filter { category: Some("authentication".into()), ..Filter::default() }).await, 4);
    assert_eq!(count(Filter { language: Some("en".into()), ..Filter::default() }).await, 2);
    assert_eq!(count(Filter { status: Some("PAUSED".into()), ..Filter::default() }).await, 0);
    sqlx::query("update instances set deleted_at = now() where id = $1").bind(one.0).execute(&pool).await.unwrap();
    assert_eq!(count(Filter::default()).await, 12, "those of a deleted instance are gone");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn sandbox_templates_are_made_here(pool: PgPool) {
    let world = World::new(&pool).await;
    let sandbox = instance(&pool, world.org(), "sandbox").await;
    let new = listing().remove(1);
    let made = store::create(&world.db, &world.owner, sandbox, None, &new).await.unwrap();
    assert_eq!(made.status, "APPROVED");
    assert!(matches!(store::create(&world.db, &world.owner, sandbox, None, &new).await, Err(Error::Conflict(_))));
    let patch =
        TemplatePatch { category: Some("UTILITY".into()), status: Some("PAUSED".into()), ..TemplatePatch::default() };
    let changed = store::edit(&world.db, &world.owner, made.id, None, patch).await.unwrap();
    assert_eq!((changed.category.as_str(), changed.previous_category.as_deref()), ("UTILITY", Some("MARKETING")));
    assert_eq!((changed.status.as_str(), &changed.components), ("PAUSED", &made.components));
    assert_eq!(events(&pool).await.len(), 1);
    store::delete(&world.db, &world.owner, made.id, None).await.unwrap();
    assert!(matches!(store::get(&world.db, world.org(), made.id, None).await, Err(Error::NotFound)));
    let again = store::create(&world.db, &world.owner, sandbox, None, &new).await.unwrap();
    assert_ne!(again.id, made.id);
    let history = audit::of_subject(&world.db, world.org(), &made.id.to_string()).await.unwrap();
    let actions: Vec<&str> = history.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["template.deleted", "template.edited", "template.created"], "what failed is not there");
    assert_eq!(history[1].subject_name, format!("{} ({})", new.name, new.language));
    let change = |field: &str, before: &str, after: &str| Change::new(field, Some(before.into()), Some(after.into()));
    assert_eq!(
        history[1].changes,
        [change("category", "MARKETING", "UTILITY"), change("status", "APPROVED", "PAUSED")]
    );

    // Elsewhere they are the provider's.
    for provider in ["cloud_api", "waha"] {
        let theirs = instance(&pool, world.org(), provider).await;
        assert!(
            matches!(store::create(&world.db, &world.owner, theirs, None, &new).await, Err(Error::Conflict(_))),
            "{provider}"
        );
        store::sync(&world.db, None, world.org(), theirs, std::slice::from_ref(&new)).await.unwrap();
        let id = all(&world, theirs).await[0].id;
        assert!(matches!(
            store::edit(&world.db, &world.owner, id, None, TemplatePatch::default()).await,
            Err(Error::Conflict(_))
        ));
        assert!(matches!(store::delete(&world.db, &world.owner, id, None).await, Err(Error::Conflict(_))));
    }

    // Instances that the key may not use, and those of others, are not there.
    let other = world.other_organization().await;
    for (actor, allowed) in [(&world.owner, Some(&[][..])), (&other, None)] {
        let (db, organization) = (&world.db, actor.organization_id);
        assert!(matches!(store::create(db, actor, sandbox, allowed, &new).await, Err(Error::NotFound)));
        assert!(matches!(store::get(db, organization, again.id, allowed).await, Err(Error::NotFound)));
        assert!(matches!(
            store::edit(db, actor, again.id, allowed, TemplatePatch::default()).await,
            Err(Error::NotFound)
        ));
        assert!(matches!(store::delete(db, actor, again.id, allowed).await, Err(Error::NotFound)));
        let filter = Filter { allowed: allowed.map(<[_]>::to_vec), ..Filter::default() };
        assert!(store::list(db, organization, &filter, 100, None).await.unwrap().templates.is_empty());
    }
    assert!(store::find(&world.db, other.organization_id, sandbox, &new.name, &new.language).await.unwrap().is_none());
}

/// Numbers are asked for their templates once a day, each by one server; whoever asked in between counts, too.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn templates_become_stale_after_a_day(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(instance(&pool, world.org(), "cloud_api").await);
    }
    for other in ["sandbox", "waha"] {
        instance(&pool, world.org(), other).await;
    }
    sqlx::query("update instances set status = 'connected'").execute(&pool).await.unwrap();
    for state in ["status = 'disconnected'", "status = 'connected', deleted_at = now()"] {
        let id = instance(&pool, world.org(), "cloud_api").await;
        let update = format!("update instances set {state} where id = $1");
        sqlx::query(sqlx::AssertSqlSafe(update)).bind(id.0).execute(&pool).await.unwrap();
    }
    let now = Utc::now();
    let take = async |limit, hours| {
        let taken = store::take_stale(&world.db, limit, now + Duration::hours(hours)).await.unwrap();
        assert!(taken.iter().all(|(organization, _)| *organization == world.org()));
        taken.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(take(2, 0).await.len(), 2, "no more than asked for");
    assert_eq!(take(10, 0).await.len(), 1, "those that are left");
    assert_eq!(take(10, 23).await, []);
    let mut all = take(10, 24).await;
    all.sort_unstable();
    assert_eq!(all, numbers);

    sqlx::query("update instances set templates_asked_at = null").execute(&pool).await.unwrap();
    store::sync(&world.db, Some(&world.owner), world.org(), numbers[0], &listing()).await.unwrap();
    assert!(!take(10, 23).await.contains(&numbers[0]), "somebody asked just now");
    let [row] = &audit::of_subject(&world.db, world.org(), &numbers[0].to_string()).await.unwrap()[..] else {
        panic!()
    };
    assert_eq!(row.action, "template.synced");
    assert!(row.changes.contains(&Change::new("added", None, Some("12".into()))), "{:?}", row.changes);
}
