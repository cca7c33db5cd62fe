create table api_keys (
    id uuid primary key,
    organization_id uuid not null references organizations,
    name text not null constraint api_keys_name_length check (char_length(name) between 1 and 80),
    description text not null constraint api_keys_description_length check (char_length(description) <= 500),
    environment text not null constraint api_keys_environment check (environment in ('live', 'test')),
    -- Hint of the current secret; its hash is in api_key_secrets.
    hint text not null,
    scope_group text,
    scopes text[] not null constraint api_keys_scopes_some check (cardinality(scopes) > 0),
    -- domain::throttle::Throttle as JSON.
    throttle jsonb not null,
    allowed_ips cidr[] not null,
    -- Null: all instances.
    allowed_instances uuid[],
    -- Calls in a sliding hour; null: no limit.
    rate_limit integer constraint api_keys_rate_limit check (rate_limit > 0),
    expires_at timestamptz,
    disabled_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    created_at timestamptz not null default now(),
    created_by uuid,
    created_by_name text not null,
    version integer not null default 1,
    first_used_at timestamptz,
    last_used_at timestamptz,
    last_used_ip inet,
    last_used_user_agent text not null default '',
    -- Expiry warnings already given: days before (14, 3, 1).
    expiry_warned integer,
    -- Made when the form was drawn: submitting it twice makes one key.
    submission uuid constraint api_keys_submission_key unique,
    constraint api_keys_tenant_key unique (organization_id, id)
);
create unique index api_keys_name_key on api_keys (organization_id, lower(name)) where revoked_at is null;
create index api_keys_created on api_keys (organization_id, created_at desc, id desc);
create index api_keys_sort_name on api_keys (organization_id, lower(name), id);
-- Keys that were never used count as used in the year 1, as the list sorts them.
create index api_keys_last_used on api_keys (organization_id, coalesce(last_used_at, '0001-01-01Z'::timestamptz), id);
create index api_keys_expiry on api_keys (organization_id, expires_at) where revoked_at is null;
call isolate('api_keys');

create table api_key_secrets (
    id uuid primary key,
    organization_id uuid not null,
    key_id uuid not null,
    -- SHA-256 of the full key.
    hash bytea not null constraint api_key_secrets_hash_key unique,
    hint text not null,
    created_at timestamptz not null default now(),
    -- Set when the key is regenerated: until then this secret works beside the new one.
    ends_at timestamptz,
    foreign key (organization_id, key_id) references api_keys (organization_id, id)
);
create index api_key_secrets_key on api_key_secrets (key_id, created_at desc);
-- One current secret a key.
create unique index api_key_secrets_current on api_key_secrets (key_id) where ends_at is null;
call isolate('api_key_secrets');

-- Stable, not immutable, or Postgres would not put its text into the query. Orders keys by state: 0 active, 1 expiring (seven days), 2 disabled, 3 expired, 4 revoked. Mirrors ApiKey::status.
create function api_key_state(revoked_at timestamptz, expires_at timestamptz, disabled_at timestamptz, at timestamptz)
    returns integer language sql stable parallel safe
    return case
        when revoked_at is not null then 4
        when expires_at <= at then 3
        when disabled_at is not null then 2
        when expires_at <= at + interval '7 days' then 1
        else 0
    end;

-- Every server drops its cached copy of a key as soon as the change is committed.
create function notify_key_changed() returns trigger
    language plpgsql
as $$
begin
    -- The use of a key is no change of it.
    if new.version = old.version then return null; end if;
    perform pg_notify('bouncer_keys', new.id::text);
    return null;
end $$;
create trigger api_keys_changed after update on api_keys
    for each row execute function notify_key_changed();
