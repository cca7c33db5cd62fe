//! What stands in the API's document about messages, and the answers themselves. Bodies are read by
//! `domain::messages::read`; the descriptions here say what it takes.

use domain::{
    ids::{InstanceId, KeyId, MessageId, RequestId},
    keys::Environment,
    messages::{Body, Message, MessageError, MessageStatus, Step},
    time::Time,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::me::EnvironmentName;

/// A message to send. Give `message`, or `type` and the object of that name.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what domain::messages::read takes")]
pub(in crate::api) struct SendMessage {
    /// The number that sends.
    #[schema(pattern = "^ins_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: String,
    /// The recipient's phone number with its country code. Spaces, dots, hyphens, slashes and parentheses are left
    /// out, `00` in front counts as plus; WhatsApp ids of persons (`60123456789@c.us`) work too, groups do not.
    #[schema(min_length = 1, max_length = 64, example = "+60123456789")]
    to: String,
    /// The text of a text message.
    #[schema(min_length = 1, max_length = 4096, example = "Hi")]
    message: Option<String>,
    #[schema(rename = "type")]
    r#type: Option<MessageType>,
    text: Option<TextContent>,
    image: Option<CaptionedMedia>,
    video: Option<CaptionedMedia>,
    audio: Option<PlainMedia>,
    document: Option<DocumentMedia>,
    sticker: Option<PlainMedia>,
    location: Option<LocationContent>,
    #[schema(min_items = 1, max_items = 257)]
    contacts: Option<Vec<ContactContent>>,
    template: Option<TemplateContent>,
    /// Only say what would happen.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::messages::Body::KINDS")]
pub(super) enum MessageType {
    Text,
    Image,
    Video,
    Audio,
    Document,
    Sticker,
    Location,
    Contacts,
    Template,
}

macro_rules! described {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "describes what domain::messages::read takes and domain::messages::body keeps")]
        pub(in crate::api) struct $name { $($(#[$field_meta])* $field: $kind,)* }
    )*};
}

described! {
    /// A text message.
    struct TextContent {
        #[schema(min_length = 1, max_length = 4096)]
        body: String,
        /// Show a preview of the first link.
        #[schema(default = false)]
        preview_url: Option<bool>,
    }

    /// An image or video, by `link` or `id`.
    struct CaptionedMedia {
        /// An https address that the provider can fetch.
        #[schema(format = "uri", max_length = 2000, pattern = "^[hH][tT][tT][pP][sS]://", example = "https://shop.example/picture.jpg")]
        link: Option<String>,
        /// Of something uploaded to the provider before; not with WAHA.
        #[schema(min_length = 1, max_length = 300)]
        id: Option<String>,
        #[schema(max_length = 1024)]
        caption: Option<String>,
    }

    /// An audio or sticker, by `link` or `id`.
    struct PlainMedia {
        /// An https address that the provider can fetch.
        #[schema(format = "uri", max_length = 2000, pattern = "^[hH][tT][tT][pP][sS]://", example = "https://shop.example/sound.ogg")]
        link: Option<String>,
        /// Of something uploaded to the provider before; not with WAHA.
        #[schema(min_length = 1, max_length = 300)]
        id: Option<String>,
    }

    /// A document, by `link` or `id`.
    struct DocumentMedia {
        /// An https address that the provider can fetch.
        #[schema(format = "uri", max_length = 2000, pattern = "^[hH][tT][tT][pP][sS]://", example = "https://shop.example/invoice.pdf")]
        link: Option<String>,
        /// Of something uploaded to the provider before; not with WAHA.
        #[schema(min_length = 1, max_length = 300)]
        id: Option<String>,
        #[schema(max_length = 1024)]
        caption: Option<String>,
        #[schema(max_length = 240, example = "invoice.pdf")]
        filename: Option<String>,
    }

    /// A place. Numbers may also be sent as texts.
    struct LocationContent {
        #[schema(schema_with = latitude)]
        latitude: f64,
        #[schema(schema_with = longitude)]
        longitude: f64,
        #[schema(max_length = 1024)]
        name: Option<String>,
        #[schema(max_length = 1024)]
        address: Option<String>,
    }

    /// A contact card.
    struct ContactContent {
        name: ContactNameContent,
        #[schema(max_items = 20)]
        phones: Option<Vec<PhoneContent>>,
        #[schema(max_items = 20)]
        emails: Option<Vec<EmailContent>>,
        #[schema(max_items = 20)]
        addresses: Option<Vec<AddressContent>>,
        #[schema(max_items = 20)]
        urls: Option<Vec<UrlContent>>,
        org: Option<OrgContent>,
        #[schema(format = "date", example = "1990-05-03")]
        birthday: Option<String>,
    }

    struct ContactNameContent {
        #[schema(min_length = 1, max_length = 300)]
        formatted_name: String,
        #[schema(max_length = 300)]
        first_name: Option<String>,
        #[schema(max_length = 300)]
        last_name: Option<String>,
        #[schema(max_length = 300)]
        middle_name: Option<String>,
        #[schema(max_length = 300)]
        prefix: Option<String>,
        #[schema(max_length = 300)]
        suffix: Option<String>,
    }

    struct PhoneContent {
        #[schema(min_length = 1, max_length = 300)]
        phone: String,
        #[schema(max_length = 300)]
        r#type: Option<String>,
        #[schema(max_length = 300)]
        wa_id: Option<String>,
    }

    struct EmailContent {
        #[schema(min_length = 1, max_length = 300)]
        email: String,
        #[schema(max_length = 300)]
        r#type: Option<String>,
    }

    struct UrlContent {
        #[schema(min_length = 1, max_length = 2000)]
        url: String,
        #[schema(max_length = 300)]
        r#type: Option<String>,
    }

    struct AddressContent {
        #[schema(max_length = 300)]
        street: Option<String>,
        #[schema(max_length = 300)]
        city: Option<String>,
        #[schema(max_length = 300)]
        state: Option<String>,
        #[schema(max_length = 300)]
        zip: Option<String>,
        #[schema(max_length = 300)]
        country: Option<String>,
        #[schema(max_length = 300)]
        country_code: Option<String>,
        #[schema(max_length = 300)]
        r#type: Option<String>,
    }

    struct OrgContent {
        #[schema(max_length = 300)]
        company: Option<String>,
        #[schema(max_length = 300)]
        department: Option<String>,
        #[schema(max_length = 300)]
        title: Option<String>,
    }

    /// A template and what is filled into it, as in Meta's send payloads. What the template itself asks for is checked.
    struct TemplateContent {
        #[schema(min_length = 1, max_length = 512, example = "order_update")]
        name: String,
        language: LanguageContent,
        #[schema(max_items = 14)]
        components: Option<Vec<ComponentContent>>,
    }

    struct LanguageContent {
        #[schema(min_length = 1, max_length = 35, example = "en_US")]
        code: String,
        /// Meta's older examples carry it; it changes nothing.
        policy: Option<PolicyName>,
    }

    /// What is filled into one part of the template.
    struct ComponentContent {
        r#type: ComponentName,
        /// Only and always with `button`.
        sub_type: Option<ButtonName>,
        /// Position among the template's buttons, from 0, as a number or a text; only and always with `button`.
        #[schema(schema_with = button_index)]
        index: Option<String>,
        /// Not with `carousel`. Positional variables are filled in by this order.
        #[schema(max_items = 100)]
        parameters: Option<Vec<ParameterContent>>,
        /// Only and always with `carousel`.
        #[schema(min_items = 1, max_items = 10)]
        cards: Option<Vec<CardContent>>,
    }

    /// One card of a carousel.
    struct CardContent {
        /// Position in the carousel, from 0.
        #[schema(minimum = 0, maximum = 9)]
        card_index: i64,
        #[schema(max_items = 14)]
        components: Vec<CardComponentContent>,
    }

    /// What is filled into one part of a card.
    struct CardComponentContent {
        r#type: CardComponentName,
        /// Only and always with `button`.
        sub_type: Option<ButtonName>,
        /// Position among the card's buttons, from 0, as a number or a text; only and always with `button`.
        #[schema(schema_with = button_index)]
        index: Option<String>,
        #[schema(max_items = 100)]
        parameters: Option<Vec<ParameterContent>>,
    }

    /// What stands for one variable, or one medium: `type` and the field of that name.
    struct ParameterContent {
        r#type: ParameterName,
        /// Of a named variable; with `text`, `currency` and `date_time`.
        #[schema(max_length = 300)]
        parameter_name: Option<String>,
        #[schema(min_length = 1, max_length = 32768)]
        text: Option<String>,
        currency: Option<CurrencyContent>,
        date_time: Option<DateTimeContent>,
        image: Option<PlainMedia>,
        video: Option<PlainMedia>,
        document: Option<DocumentMedia>,
        location: Option<LocationContent>,
        product: Option<ProductContent>,
        #[schema(min_length = 1, max_length = 1000)]
        payload: Option<String>,
        #[schema(min_length = 1, max_length = 15)]
        coupon_code: Option<String>,
        limited_time_offer: Option<OfferContent>,
        action: Option<ActionContent>,
    }

    struct CurrencyContent {
        #[schema(min_length = 1, max_length = 300)]
        fallback_value: String,
        /// ISO 4217.
        #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
        code: String,
        /// The amount times 1,000.
        amount_1000: i64,
    }

    struct DateTimeContent {
        #[schema(min_length = 1, max_length = 300)]
        fallback_value: String,
        calendar: Option<CalendarName>,
        #[schema(minimum = 1, maximum = 7)]
        day_of_week: Option<i64>,
        #[schema(minimum = 0, maximum = 9999)]
        year: Option<i64>,
        #[schema(minimum = 1, maximum = 12)]
        month: Option<i64>,
        #[schema(minimum = 1, maximum = 31)]
        day_of_month: Option<i64>,
        #[schema(minimum = 0, maximum = 23)]
        hour: Option<i64>,
        #[schema(minimum = 0, maximum = 59)]
        minute: Option<i64>,
    }

    struct ProductContent {
        #[schema(min_length = 1, max_length = 300)]
        product_retailer_id: String,
        #[schema(min_length = 1, max_length = 300)]
        catalog_id: String,
    }

    struct OfferContent {
        /// When it ends: milliseconds since 1970.
        #[schema(minimum = 0)]
        expiration_time_ms: i64,
    }

    /// What a catalog, multi-product or flow button does.
    struct ActionContent {
        #[schema(max_length = 300)]
        thumbnail_product_retailer_id: Option<String>,
        /// At most 30 products in all.
        #[schema(min_items = 1, max_items = 10)]
        sections: Option<Vec<SectionContent>>,
        #[schema(max_length = 300)]
        flow_token: Option<String>,
        /// The flow's own data.
        #[schema(value_type = Option<std::collections::HashMap<String, Value>>)]
        flow_action_data: Option<Value>,
    }

    struct SectionContent {
        #[schema(min_length = 1, max_length = 24)]
        title: String,
        #[schema(min_items = 1, max_items = 30)]
        product_items: Vec<ProductItemContent>,
    }

    struct ProductItemContent {
        #[schema(min_length = 1, max_length = 300)]
        product_retailer_id: String,
    }

    /// The content of a message: one object, named as the type.
    struct Content {
        text: Option<TextContent>,
        image: Option<CaptionedMedia>,
        video: Option<CaptionedMedia>,
        audio: Option<PlainMedia>,
        document: Option<DocumentMedia>,
        sticker: Option<PlainMedia>,
        location: Option<LocationContent>,
        contacts: Option<Vec<ContactContent>>,
        template: Option<TemplateContent>,
    }
}

macro_rules! words {
    ($($(#[$meta:meta])* enum $name:ident { $($variant:ident $text:literal),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "describes words that domain::messages::read takes")]
        pub(super) enum $name { $(#[schema(rename = $text)] $variant,)* }
    )*};
}

words! {
    enum PolicyName { Deterministic "deterministic" }
    /// Case does not matter.
    enum ComponentName {
        Header "header", Body "body", Button "button", Carousel "carousel", LimitedTimeOffer "limited_time_offer",
    }
    /// Case does not matter.
    enum CardComponentName { Header "header", Body "body", Button "button" }
    /// Case does not matter.
    enum ButtonName {
        QuickReply "quick_reply", Url "url", CopyCode "COPY_CODE", Catalog "CATALOG", Mpm "mpm", Flow "flow",
    }
    /// Case does not matter.
    enum ParameterName {
        Text "text", Currency "currency", DateTime "date_time", Image "image", Video "video", Document "document",
        Location "location", Product "product", Payload "payload", CouponCode "coupon_code",
        LimitedTimeOffer "limited_time_offer", Action "action",
    }
    enum CalendarName { Gregorian "GREGORIAN", SolarHijri "SOLAR_HIJRI" }
    /// Where a message stands. `unknown`: it may have left, but the provider's answer was lost; Bouncer finds out and
    /// never sends it twice blindly.
    enum StatusName {
        Queued "queued", Sending "sending", Unknown "unknown", Sent "sent", Delivered "delivered", Read "read",
        Failed "failed", Cancelled "cancelled", Expired "expired",
    }
}

fn number(minimum: f64, maximum: f64) -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
    let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(minimum)).maximum(Some(maximum));
    // The same as a text.
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^[+-]?[0-9]{1,3}(\.[0-9]+)?$"));
    OneOfBuilder::new().item(number).item(text).into()
}

fn latitude() -> utoipa::openapi::schema::Schema {
    number(-90.0, 90.0)
}

fn longitude() -> utoipa::openapi::schema::Schema {
    number(-180.0, 180.0)
}

fn button_index() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(9));
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]$"));
    OneOfBuilder::new().item(number).item(text).item(ObjectBuilder::new().schema_type(Type::Null)).into()
}

/// An accepted message.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes domain::messages::store::Accepted")]
pub(super) struct Sent {
    /// Missing with `dryRun`.
    #[schema(value_type = Option<String>, nullable = false, pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "msg_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: Option<MessageId>,
    #[schema(value_type = StatusName)]
    status: MessageStatus,
    #[schema(value_type = String, example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: InstanceId,
    /// The recipient in E.164.
    #[schema(pattern = r"^\+[1-9][0-9]{6,14}$", example = "+60123456789")]
    to: String,
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    /// In the instance's queue; 1: nothing waits before it.
    #[schema(minimum = 1)]
    position: i64,
    /// The message leaves at this time or later; null while the queue stands still.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expected_send_at: Option<Time>,
    /// What the provider will charge; null when no price is known.
    #[schema(required)]
    estimated_cost: Option<EstimatedCost>,
}

/// A price.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes domain::messages::store::Cost")]
pub(super) struct EstimatedCost {
    /// Millionths of the currency. The sandbox and WAHA charge nothing for a message: 0.
    amount_micros: i64,
    /// ISO 4217; null when the amount is 0 in any currency.
    #[schema(required)]
    currency: Option<String>,
}

/// A message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub(in crate::api) struct MessageDocument {
    #[schema(value_type = String, pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "msg_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: MessageId,
    #[schema(value_type = StatusName)]
    status: MessageStatus,
    /// Since when it stands there.
    #[schema(value_type = String, format = DateTime)]
    status_at: Time,
    #[schema(value_type = String, example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: InstanceId,
    /// The key that sent it.
    #[schema(required, value_type = Option<String>)]
    key_id: Option<KeyId>,
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    /// The recipient in E.164; null once it was erased.
    #[schema(required, example = "+60123456789")]
    to: Option<String>,
    #[serde(rename = "type")]
    #[schema(value_type = MessageType)]
    kind: String,
    /// What it says; null once it was erased.
    #[schema(required, value_type = Option<Content>)]
    content: Option<Body>,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Time,
    /// When it was, or is, to leave.
    #[schema(value_type = String, format = DateTime)]
    expected_send_at: Time,
    /// When the provider took it.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    sent_at: Option<Time>,
    /// The id under which the provider knows it.
    #[schema(required)]
    provider_message_id: Option<String>,
    /// Why it failed.
    #[schema(required, value_type = Option<MessageErrorDocument>)]
    error: Option<MessageError>,
    /// The provider's pricing object, as it was told.
    #[schema(required, value_type = Option<std::collections::HashMap<String, Value>>)]
    pricing: Option<Value>,
    /// The call that sent it, as in its `X-Request-Id`.
    #[schema(required, value_type = Option<String>)]
    request_id: Option<RequestId>,
}

/// Why a message failed.
#[derive(ToSchema)]
#[schema(as = MessageError)]
#[expect(dead_code, reason = "describes domain::messages::MessageError")]
pub(super) struct MessageErrorDocument {
    /// The provider's code, or Bouncer's.
    #[schema(example = "131026")]
    code: String,
    #[schema(example = "Message undeliverable")]
    message: String,
}

/// A message and its way.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MessageDetail {
    #[serde(flatten)]
    message: MessageDocument,
    /// Oldest first.
    timeline: Vec<StepDocument>,
}

/// One step of a message's way.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageStep)]
pub(super) struct StepDocument {
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    #[schema(value_type = StatusName)]
    status: MessageStatus,
    /// The provider's code, the reason of a wait, who cancelled; often empty.
    detail: String,
}

impl From<Message> for MessageDocument {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            status: message.status,
            status_at: message.status_at,
            instance_id: message.instance,
            key_id: message.key,
            environment: message.environment,
            to: message.to.map(|to| to.to_string()),
            kind: message.kind,
            content: message.body,
            accepted_at: message.accepted_at,
            expected_send_at: message.slot_at,
            sent_at: message.sent_at,
            provider_message_id: message.provider_message_id,
            error: message.error,
            pricing: message.pricing,
            request_id: message.request,
        }
    }
}

impl MessageDetail {
    pub(super) fn new(message: Message, steps: Vec<Step>) -> Self {
        let timeline =
            steps.into_iter().map(|step| StepDocument { at: step.at, status: step.status, detail: step.detail });
        Self { message: message.into(), timeline: timeline.collect() }
    }
}
