-- Roles, helper functions and conventions.
--
-- Two walls between organizations: every statement names the organization, and row-level security hides the rest.
-- Pages and the public API work under the role `bouncer_app`, which owns nothing and has no BYPASSRLS, with
-- `bouncer.organization` set for the transaction. The gate, the workers and sign-in work as the owner of the tables.

do $$
begin
    create role bouncer_app nologin nobypassrls;
exception
    -- Roles belong to the whole cluster: another database, or another server at this moment, may have made it.
    when duplicate_object or unique_violation then null;
end $$;

do $$
begin
    execute format('grant bouncer_app to %I', current_user);
exception
    -- A superuser needs no membership, and two databases may be granting at once.
    when others then
        if not (select rolsuper from pg_roles where rolname = current_user) then raise; end if;
end $$;

grant usage on schema public to bouncer_app;
alter default privileges in schema public grant select, insert, update, delete on tables to bouncer_app;
alter default privileges in schema public grant usage on sequences to bouncer_app;

-- The organization of this transaction, null when none is set.
create function current_organization() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('bouncer.organization', true), '')::uuid;

-- Hides rows of other organizations from `bouncer_app`. The sub-select makes the planner ask once, not per row.
create procedure isolate(target regclass)
    language plpgsql
as $$
begin
    execute format('alter table %s enable row level security', target);
    execute format(
        'create policy organization on %s using (organization_id = (select current_organization())) with check (organization_id = (select current_organization()))',
        target);
end $$;
