-- Webhook endpoints, events and their deliveries.

create table webhook_endpoints (
    id uuid primary key,
    organization_id uuid not null references organizations,
    url text not null constraint webhook_endpoints_url_length check (char_length(url) <= 2000),
    description text not null default '',
    -- Event types, with wildcards such as `message.*`.
    events text[] not null constraint webhook_endpoints_events_some check (cardinality(events) > 0),
    -- Deliveries of which environment; null: both.
    environment text,
    -- Sealed `whsec_…`, and the one before it while both sign.
    secret text not null,
    old_secret text,
    old_secret_ends_at timestamptz,
    -- Sealed JSON object: header names and values.
    headers text,
    header_names text[] not null default '{}',
    -- Requests at once, and requests a second at most (null: no limit).
    concurrency integer not null default 10,
    rate_limit integer,
    created_at timestamptz not null default now(),
    created_by_name text not null,
    -- The key whose call made it; null: the console.
    created_by_key uuid,
    version integer not null default 1,
    disabled_at timestamptz,
    -- 'person', 'gone' (410) or 'failures'.
    disabled_by text,
    deleted_at timestamptz,
    -- The server that delivers for it, and until when it is believed to live: one at a time, so that the limits
    -- hold over all servers.
    owner_id uuid,
    owner_until timestamptz,
    -- Since when every attempt has failed, and how many.
    failing_since timestamptz,
    failures integer not null default 0,
    last_success_at timestamptz,
    last_attempt_at timestamptz,
    last_error text not null default '',
    constraint webhook_endpoints_tenant_key unique (organization_id, id)
);
create index webhook_endpoints_list on webhook_endpoints (organization_id, id desc) where deleted_at is null;
create index webhook_endpoints_owned on webhook_endpoints (owner_until) where owner_id is not null;
call isolate('webhook_endpoints');

-- What happened; one partition a month.
create table events (
    id uuid not null,
    organization_id uuid not null,
    environment text not null,
    kind text not null,
    at timestamptz not null,
    -- The event's `data`.
    data jsonb not null,
    -- What it is about, for filters.
    message_id uuid,
    key_id uuid,
    primary key (id)
) partition by range (id);
create table events_rest partition of events default;
create index events_organization on events (organization_id, id desc);
create index events_message on events (message_id) where message_id is not null;
call isolate('events');
revoke all on events_rest from bouncer_app;

-- One event for one endpoint; one partition a month.
create table deliveries (
    id uuid not null,
    organization_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    kind text not null,
    -- 'pending', 'sending', 'succeeded', 'failed' (given up) or 'cancelled'.
    status text not null,
    -- Attempts so far, the running one included, and how many of them were before it was last resent.
    attempt integer not null default 0,
    attempts_before integer not null default 0,
    due timestamptz,
    -- The server that has it while `sending`.
    server_id uuid,
    -- Of the last attempt.
    last_status integer,
    last_error text,
    last_attempt_at timestamptz,
    created_at timestamptz not null,
    finished_at timestamptz,
    primary key (id)
) partition by range (id);
create table deliveries_rest partition of deliveries default;
create index deliveries_first on deliveries (endpoint_id, due, id) where status = 'pending' and attempt = 0;
create index deliveries_retry on deliveries (endpoint_id, due, id) where status = 'pending' and attempt > 0;
create index deliveries_sending on deliveries (endpoint_id) where status = 'sending';
create index deliveries_endpoint on deliveries (organization_id, endpoint_id, id desc);
create index deliveries_organization on deliveries (organization_id, id desc);
create index deliveries_event on deliveries (event_id);
call isolate('deliveries');
revoke all on deliveries_rest from bouncer_app;

-- One HTTP try; one partition a month (by its own id).
create table delivery_attempts (
    id uuid not null,
    organization_id uuid not null,
    delivery_id uuid not null,
    endpoint_id uuid not null,
    number integer not null,
    at timestamptz not null,
    -- Null: no answer.
    status integer,
    error text not null default '',
    duration_ms integer not null,
    -- The address that was connected to.
    address text,
    request_headers jsonb not null,
    response_headers jsonb,
    -- At most 64 KiB.
    response_body text,
    primary key (id)
) partition by range (id);
create table delivery_attempts_rest partition of delivery_attempts default;
create index delivery_attempts_delivery on delivery_attempts (delivery_id, number);
call isolate('delivery_attempts');
revoke all on delivery_attempts_rest from bouncer_app;

-- Attempts of an endpoint by hour, outcome and duration, for its health.
create table webhook_hours (
    endpoint_id uuid not null,
    organization_id uuid not null,
    hour timestamptz not null,
    succeeded boolean not null,
    -- domain::webhooks::Durations.
    bucket smallint not null,
    count bigint not null,
    primary key (endpoint_id, hour, succeeded, bucket)
);
create index webhook_hours_age on webhook_hours (hour);
call isolate('webhook_hours');

-- Sending many deliveries once more, in the background.
create table resend_jobs (
    id uuid primary key,
    organization_id uuid not null,
    created_at timestamptz not null default now(),
    created_by_name text not null,
    -- domain::webhooks::DeliveryFilter as JSON.
    filter jsonb not null,
    total bigint not null,
    done bigint not null default 0,
    -- The last delivery that was put back; the next ones are older.
    cursor_id uuid,
    finished_at timestamptz,
    cancelled_at timestamptz
);
create index resend_jobs_open on resend_jobs (created_at) where finished_at is null and cancelled_at is null;
call isolate('resend_jobs');

-- The second secret of a key (PRODUCT, section 5): sealed, because signatures are computed with it.
alter table api_keys add column signing_secret text;
alter table api_keys add column signing_secret_hint text;

-- Signatures that were used; each works once within its five minutes.
create table used_signatures (
    digest bytea primary key,
    expires_at timestamptz not null
);
create index used_signatures_age on used_signatures (expires_at);
revoke all on used_signatures from bouncer_app;
