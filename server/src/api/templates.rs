//! `/templates`: the message patterns of instances.
//!
//! On a Cloud API instance they are Meta's: read here, and taken over by a synchronisation. On the sandbox they are made
//! here, approved at once, and their status and category can be changed to try out what happens then.

use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    ids::{InstanceId, TemplateId},
    templates::{
        Listed, ParameterFormat, Template, TemplateForm, form,
        store::{self, Filter, Synced, TemplatePatch},
    },
    time::Time,
};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    conversations::{admit, id, readable},
    extract::{
        Authorized, CreateTemplates, DeleteTemplates, Fields, Json, Object, ReadTemplates, Screened, UpdateTemplates,
    },
    idempotency::Once,
    instances,
    list::{List, Page, Query},
    problem::{Code, Problem, Result},
};
use crate::{providers, state::AppState};

const FORMATS: [&str; 2] = ["POSITIONAL", "NAMED"];
/// Longest text of a filter; longer ones match nothing anyway.
const WORD_MAX: usize = 512;

/// A template of an instance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Template)]
pub(super) struct TemplateInfo {
    #[schema(value_type = String, pattern = "^tpl_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "tpl_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: TemplateId,
    #[schema(value_type = String, pattern = "^ins_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: InstanceId,
    /// Meta's id; null on the sandbox.
    #[schema(required, example = "1387372356726668")]
    provider_id: Option<String>,
    #[schema(example = "reservation_confirmation")]
    name: String,
    #[schema(example = "en_US")]
    language: String,
    /// `MARKETING`, `UTILITY`, `AUTHENTICATION`, or a newer word of Meta's.
    #[schema(example = "UTILITY")]
    category: String,
    /// What it was before Meta changed it; null: it never was changed.
    #[schema(required, example = "MARKETING")]
    previous_category: Option<String>,
    /// Meta's word; only `APPROVED` templates can be sent.
    #[schema(example = "APPROVED")]
    status: String,
    /// Whether variables are filled in by order or by name.
    #[schema(value_type = ParameterFormatName)]
    parameter_format: ParameterFormat,
    /// The components as Meta lists them, variables in double braces.
    #[schema(value_type = Vec<Object>)]
    components: Value,
    /// When it was made or last seen at Meta.
    #[schema(value_type = String, format = DateTime)]
    synced_at: Time,
}

#[derive(ToSchema)]
#[schema(as = ParameterFormat, rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "describes domain::templates::ParameterFormat, which knows nothing of this document")]
pub(super) enum ParameterFormatName {
    Positional,
    Named,
}

#[derive(ToSchema)]
#[schema(as = TemplateCategory, rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "describes domain::templates::form::CATEGORIES, which knows nothing of this document")]
pub(super) enum CategoryName {
    Marketing,
    Utility,
    Authentication,
}

#[derive(ToSchema)]
#[schema(as = TemplateStatus, rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "describes domain::templates::form::STATUSES, which knows nothing of this document")]
pub(super) enum StatusName {
    Approved,
    Pending,
    Rejected,
    Paused,
}

impl From<Template> for TemplateInfo {
    fn from(template: Template) -> Self {
        Self {
            id: template.id,
            instance_id: template.instance_id,
            provider_id: template.provider_id,
            name: template.name,
            language: template.language,
            category: template.category,
            previous_category: template.previous_category,
            status: template.status,
            parameter_format: template.parameter_format,
            components: template.components,
            synced_at: template.synced_at,
        }
    }
}

/// The query of the list, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(super) struct TemplatesQuery {
    /// Entries of a page.
    #[param(minimum = 1, maximum = 100, default = 25)]
    limit: Option<u32>,
    /// `nextCursor` of the page before; without it, the first page.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// Only those of this instance.
    #[param(value_type = Option<String>, pattern = "^ins_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: Option<InstanceId>,
    /// Only those of this name, in all languages.
    #[param(max_length = 512)]
    name: Option<String>,
    #[param(max_length = 512, example = "en_US")]
    language: Option<String>,
    #[param(max_length = 512, example = "UTILITY")]
    category: Option<String>,
    #[param(max_length = 512, example = "APPROVED")]
    status: Option<String>,
}

fn asked(query: Result<Query>) -> Result<(Filter, Page<TemplateId>)> {
    let mut query = query?;
    let page = query.page();
    let filter = Filter {
        instance: query.optional_id("instanceId"),
        name: query.optional_text_up_to("name", WORD_MAX),
        language: query.optional_text_up_to("language", WORD_MAX),
        category: query.optional_text_up_to("category", WORD_MAX),
        status: query.optional_text_up_to("status", WORD_MAX),
        allowed: None,
    };
    query.finish()?;
    Ok((filter, page))
}

/// List templates
///
/// Of all instances that the key may use, newest first. Templates that vanished at Meta are not listed.
#[utoipa::path(
    get,
    path = "/templates",
    tag = "Templates",
    operation_id = "listTemplates",
    security(("bearerAuth" = ["template:read"]), ("apiKeyAuth" = ["template:read"])),
    params(TemplatesQuery),
    responses((status = 200, description = "A page of templates", body = List<TemplateInfo>)),
)]
pub(super) async fn list(
    caller: Screened<ReadTemplates>,
    State(state): State<AppState>,
    query: Result<Query>,
) -> Result<axum::Json<List<TemplateInfo>>> {
    let (caller, (filter, Page { limit, after })) = readable(caller, asked(query))?;
    let caller = admit(&state, caller, filter.instance).await?;
    let key = caller.key();
    let filter = Filter { allowed: key.allowed_instances.clone(), ..filter };
    let page = store::list(&state.db, key.organization_id, &filter, limit, after).await?;
    Ok(axum::Json(List {
        data: page.templates.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// One template
///
/// With its components: what stands in double braces is filled in when it is sent.
#[utoipa::path(
    get,
    path = "/templates/{id}",
    tag = "Templates",
    operation_id = "getTemplate",
    security(("bearerAuth" = ["template:read"]), ("apiKeyAuth" = ["template:read"])),
    params(("id" = String, Path, description = "The template's id", example = "tpl_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses(
        (status = 200, description = "The template", body = TemplateInfo),
        (status = 422, description = "There is no such query parameter"),
    ),
)]
pub(super) async fn get(
    caller: Authorized<ReadTemplates>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
) -> Result<axum::Json<TemplateInfo>> {
    query.finish()?;
    let key = caller.key();
    let template = store::get(&state.db, key.organization_id, id(&path)?, key.allowed_instances.as_deref()).await?;
    Ok(axum::Json(template.into()))
}

/// A template for the sandbox.
#[derive(ToSchema)]
#[schema(as = CreateTemplate, rename_all = "camelCase")]
pub(super) struct NewTemplate {
    /// A sandbox instance.
    #[schema(value_type = String, example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: Option<InstanceId>,
    #[schema(min_length = 1, max_length = 512, pattern = "^[a-z0-9_]+$", example = "order_update")]
    name: String,
    #[schema(example = "en_US")]
    language: String,
    #[schema(value_type = CategoryName)]
    category: String,
    /// Without it, the variables themselves tell.
    #[schema(value_type = Option<ParameterFormatName>)]
    parameter_format: Option<ParameterFormat>,
    /// The components in Meta's form (`type` in either case): HEADER, BODY, FOOTER, BUTTONS, CAROUSEL and
    /// LIMITED_TIME_OFFER. A BODY is required.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 6,
             example = json!([{ "type": "BODY", "text": "Hi {{1}}, your order {{2}} is on its way." }]))]
    components: Value,
}

impl Fields for NewTemplate {
    fn take(object: &mut Object) -> Self {
        let instance_id = object.id("instanceId");
        let name = object.text("name");
        let language = object.text("language");
        let category = object.text("category");
        let parameter_format = object.optional_choice("parameterFormat", &FORMATS, ParameterFormat::parse);
        let components = object.value("components").unwrap_or(Value::Null);
        let new = Self { instance_id, name, language, category, parameter_format, components };
        if let Err(errors) = new.listed() {
            for error in errors {
                // An empty text was complained about already.
                let empty = match error.field.as_str() {
                    "name" => new.name.is_empty(),
                    "language" => new.language.is_empty(),
                    "category" => new.category.is_empty(),
                    _ => false,
                };
                if !empty {
                    object.complain(error.field, error.message);
                }
            }
        }
        new
    }
}

impl NewTemplate {
    fn listed(&self) -> Result<Listed, Vec<domain::FieldError>> {
        TemplateForm {
            name: self.name.clone(),
            language: self.language.clone(),
            category: self.category.clone(),
            parameter_format: self.parameter_format,
            components: self.components.clone(),
        }
        .parse()
    }
}

/// Create a template
///
/// On a sandbox instance; it is approved at once. Templates of a Cloud API instance are made in Meta's WhatsApp Manager
/// and taken over by `POST /templates/sync`; here they answer 409.
#[utoipa::path(
    post,
    path = "/templates",
    tag = "Templates",
    operation_id = "createTemplate",
    security(("bearerAuth" = ["template:create"]), ("apiKeyAuth" = ["template:create"])),
    request_body = NewTemplate,
    responses(
        (status = 201, description = "The template", body = TemplateInfo),
        (status = 404, description = "There is no such instance"),
    ),
)]
pub(super) async fn create(
    caller: Screened<CreateTemplates>,
    State(state): State<AppState>,
    once: Result<Once<NewTemplate>>,
) -> Result<Response> {
    let (caller, once) = readable(caller, once)?;
    let instance = once.body().instance_id;
    let caller = admit(&state, caller, instance).await?;
    let (db, actor) = (state.db.clone(), caller.actor());
    let make = |new: NewTemplate| async move {
        let listed = new.listed().map_err(Problem::invalid)?;
        let instance = new.instance_id.ok_or_else(|| Problem::new(Code::Internal))?;
        let template = store::create(&db, &actor, instance, None, &listed).await?;
        Ok(TemplateInfo::from(template))
    };
    once.run(&state, StatusCode::CREATED, make).await
}

/// What to change; what is left out stays.
#[derive(ToSchema)]
#[schema(as = PatchTemplate, rename_all = "camelCase")]
pub(super) struct PatchTemplate {
    #[schema(value_type = Option<CategoryName>)]
    category: Option<&'static str>,
    /// To try out what happens to messages with it.
    #[schema(value_type = Option<StatusName>)]
    status: Option<&'static str>,
    #[schema(value_type = Option<ParameterFormatName>)]
    parameter_format: Option<ParameterFormat>,
    /// All components anew.
    #[schema(value_type = Option<Vec<Object>>, min_items = 1, max_items = 6)]
    components: Option<Value>,
}

impl Fields for PatchTemplate {
    fn take(object: &mut Object) -> Self {
        let category = object.optional_choice("category", &form::CATEGORIES, |text| form::category(text).ok());
        let status = object.optional_choice("status", &form::STATUSES, |text| form::status(text).ok());
        let parameter_format = object.optional_choice("parameterFormat", &FORMATS, ParameterFormat::parse);
        let components = object.value("components");
        Self { category, status, parameter_format, components }
    }
}

/// Change a template
///
/// Of a sandbox instance only. A new `category` is told as Meta's own change would be: the event
/// `template.category_changed`, and `previousCategory`.
#[utoipa::path(
    patch,
    path = "/templates/{id}",
    tag = "Templates",
    operation_id = "patchTemplate",
    security(("bearerAuth" = ["template:update"]), ("apiKeyAuth" = ["template:update"])),
    params(("id" = String, Path, description = "The template's id", example = "tpl_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    request_body = PatchTemplate,
    responses(
        (status = 200, description = "The template as it is now", body = TemplateInfo),
        (status = 409, description = "Templates of this instance are not made here"),
    ),
)]
pub(super) async fn patch(
    caller: Authorized<UpdateTemplates>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    Json(patch): Json<PatchTemplate>,
) -> Result<axum::Json<TemplateInfo>> {
    query.finish()?;
    let key = caller.key();
    let (organization, allowed) = (key.organization_id, key.allowed_instances.as_deref());
    let template = id(&path)?;
    let before = store::get(&state.db, organization, template, allowed).await?;
    // Category, format and components must fit each other whichever of them changes.
    let (components, errors) = form::components(
        patch.components.clone().unwrap_or(before.components),
        patch.category.unwrap_or(&before.category),
        Some(patch.parameter_format.unwrap_or(before.parameter_format)),
    );
    let shapes = patch.components.is_some() || patch.category.is_some() || patch.parameter_format.is_some();
    if shapes && !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let change = TemplatePatch {
        category: patch.category.map(str::to_owned),
        status: patch.status.map(str::to_owned),
        parameter_format: patch.parameter_format,
        components: patch.components.map(|_| components),
    };
    let after = store::edit(&state.db, &caller.actor(), template, allowed, change).await?;
    Ok(axum::Json(after.into()))
}

/// Delete a template
///
/// Of a sandbox instance only. Messages that were accepted with it are still sent.
#[utoipa::path(
    delete,
    path = "/templates/{id}",
    tag = "Templates",
    operation_id = "deleteTemplate",
    security(("bearerAuth" = ["template:delete"]), ("apiKeyAuth" = ["template:delete"])),
    params(("id" = String, Path, description = "The template's id", example = "tpl_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses(
        (status = 204, description = "It is deleted"),
        (status = 409, description = "Templates of this instance are not made here"),
        (status = 422, description = "There is no such query parameter"),
    ),
)]
pub(super) async fn delete(
    caller: Authorized<DeleteTemplates>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    query.finish()?;
    let allowed = caller.key().allowed_instances.as_deref();
    store::delete(&state.db, &caller.actor(), id(&path)?, allowed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose templates to take over.
#[derive(ToSchema)]
#[schema(as = SyncTemplates, rename_all = "camelCase")]
pub(super) struct SyncTemplates {
    /// A Cloud API instance.
    #[schema(value_type = String, example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: Option<InstanceId>,
}

impl Fields for SyncTemplates {
    fn take(object: &mut Object) -> Self {
        Self { instance_id: object.id("instanceId") }
    }
}

/// What a synchronisation found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncedTemplates {
    /// Templates that Meta lists now.
    #[schema(minimum = 0, example = 12)]
    listed: usize,
    /// Of these, how many were not known here.
    #[schema(minimum = 0, example = 1)]
    added: usize,
    /// Templates that were known here and are listed no more.
    #[schema(minimum = 0, example = 0)]
    removed: usize,
    /// Templates whose category Meta changed; each is told as `template.category_changed`.
    #[schema(minimum = 0, example = 0)]
    recategorised: usize,
}

/// Synchronise templates
///
/// Asks Meta for the templates of a Cloud API instance and takes its list over. Instances of other providers answer 409.
/// Bouncer does the same by itself when the instance is connected, and once a day.
#[utoipa::path(
    post,
    path = "/templates/sync",
    tag = "Templates",
    operation_id = "syncTemplates",
    security(("bearerAuth" = ["template:update"]), ("apiKeyAuth" = ["template:update"])),
    request_body = SyncTemplates,
    responses(
        (status = 200, description = "What was found", body = SyncedTemplates),
        (status = 404, description = "There is no such instance"),
        (status = 424, description = "Meta cannot be reached"),
    ),
)]
pub(super) async fn sync(
    caller: Screened<UpdateTemplates>,
    State(state): State<AppState>,
    once: Result<Once<SyncTemplates>>,
) -> Result<Response> {
    let (caller, once) = readable(caller, once)?;
    let instance = once.body().instance_id;
    let caller = admit(&state, caller, instance).await?;
    let (actor, inner) = (caller.actor(), state.clone());
    let take_over = move |asked: SyncTemplates| async move {
        let instance = asked.instance_id.ok_or_else(|| Problem::new(Code::Internal))?;
        let Synced { listed, added, removed, recategorised } =
            providers::templates::fetch(&inner, Some(&actor), actor.organization_id, instance)
                .await
                .map_err(instances::problem)?;
        Ok(SyncedTemplates { listed, added, removed, recategorised })
    };
    once.run(&state, StatusCode::OK, take_over).await
}
