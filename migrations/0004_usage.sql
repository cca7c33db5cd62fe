-- One row for each API call; one partition a day, made ahead and dropped by housekeeping.
create table request_log (
    id uuid not null,
    at timestamptz not null,
    organization_id uuid not null,
    key_id uuid not null,
    secret_id uuid not null,
    method text not null,
    -- The route, not the path.
    endpoint text not null,
    status smallint not null,
    -- 'allowed' or the code of the denial.
    outcome text not null,
    scope text,
    ip inet not null,
    user_agent text not null,
    latency_us integer not null
) partition by range (at);
create table request_log_rest partition of request_log default;
create index request_log_key on request_log (organization_id, key_id, at desc);
create index request_log_id on request_log (id);
call isolate('request_log');
revoke insert, update, delete on request_log from bouncer_app;
-- Row-level security of the parent does not bind a partition that is read by its own name.
revoke all on request_log_rest from bouncer_app;

-- Calls by minute, hour and day.
create table usage_rollups (
    organization_id uuid not null,
    grain text not null constraint usage_rollups_grain check (grain in ('minute', 'hour', 'day')),
    bucket timestamptz not null,
    key_id uuid not null,
    endpoint text not null,
    outcome text not null,
    status smallint not null,
    calls bigint not null,
    latency_us bigint not null,
    primary key (organization_id, key_id, grain, bucket, endpoint, outcome, status)
);
create index usage_rollups_organization on usage_rollups (organization_id, grain, bucket);
create index usage_rollups_age on usage_rollups (grain, bucket);
call isolate('usage_rollups');
revoke insert, update, delete on usage_rollups from bouncer_app;

-- Calls that each server let through, by key and minute: how servers learn of each other's, and how a window
-- survives a restart (domain/src/gate/limiter.rs).
create table rate_windows (
    key_id uuid not null,
    server_id uuid not null,
    minute timestamptz not null,
    calls integer not null,
    changed_at timestamptz not null default clock_timestamp(),
    primary key (key_id, minute, server_id)
);
create index rate_windows_changed on rate_windows (changed_at);
revoke all on rate_windows from bouncer_app;
