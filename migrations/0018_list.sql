-- The list of keys reads all of an organization's keys for a count, a filter or an order: from indexes that hold what it
-- needs, not from rows that are ten times as wide. Row-level security lets no index be searched by `lower` or `coalesce`:
-- names, and what is searched besides, are kept in lower case, and `case` does for the other.
drop index api_keys_sort_name, api_keys_created, api_keys_last_used;
alter table api_keys
    add column name_lower text not null generated always as (lower(name)) stored,
    add column details_lower text not null generated always as (lower(hint || E'\n' || description)) stored;
create index api_keys_named on api_keys (organization_id, name_lower, id) include (details_lower);
create index api_keys_listed on api_keys (organization_id, created_at desc, id desc)
    include (revoked_at, expires_at, disabled_at, last_used_at, environment, created_by);
-- Keys that were never used count as used in the year 1, as the list sorts them.
create index api_keys_used on api_keys
    (organization_id, (case when last_used_at is null then '0001-01-01Z'::timestamptz else last_used_at end), id);

-- Few secrets ever end: those that still will are of keys that are being rotated.
create index api_key_secrets_ending on api_key_secrets (organization_id, ends_at) where ends_at is not null;

-- Answers from an index alone need pages that were vacuumed since they last changed, and the keys that are in use change
-- every few seconds.
alter table api_keys set (autovacuum_vacuum_scale_factor = 0.05);
