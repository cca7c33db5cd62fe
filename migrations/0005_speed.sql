-- Sums are updated again and again. Room on their page lets a new version of a row stay there, and no index has to
-- learn of it: as long as no index holds a column that changes.
alter table usage_rollups set (fillfactor = 70);
alter table rate_windows set (fillfactor = 70);

-- `changed_at` changes with each write. What other servers wrote lately is found by their name and the minute instead.
drop index rate_windows_changed;
create index rate_windows_server on rate_windows (server_id, minute);

-- The gate keeps the organization's name with each of its keys.
create function notify_organization_changed() returns trigger
    language plpgsql
as $$
begin
    perform pg_notify('bouncer_keys', '*');
    return null;
end $$;
create trigger organizations_changed after update of name on organizations
    for each row execute function notify_organization_changed();

-- Who created keys: the list offers them as a filter.
create index api_keys_creators on api_keys (organization_id, created_by_name, created_by) where created_by is not null;

-- Every call is an entry here, and a key belongs to one organization: half as long an entry finds the same.
drop index request_log_key;
create index request_log_key on request_log (key_id, at);
