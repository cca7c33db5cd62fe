create table organizations (
    id uuid primary key,
    name text not null constraint organizations_name_length check (char_length(name) between 1 and 80),
    created_at timestamptz not null default now()
);
alter table organizations enable row level security;
create policy organization on organizations using (id = (select current_organization()));

create table people (
    id uuid primary key,
    email text not null constraint people_email_key unique,
    name text not null constraint people_name_length check (char_length(name) between 1 and 80),
    -- PHC string of argon2id.
    password_hash text not null,
    created_at timestamptz not null default now()
);
-- People are shared by organizations: only the owner of the tables reads them.
revoke all on people from bouncer_app;

create table memberships (
    organization_id uuid not null references organizations,
    person_id uuid not null references people,
    role text not null constraint memberships_role check (role in ('owner', 'admin', 'developer', 'viewer')),
    joined_at timestamptz not null default now(),
    primary key (organization_id, person_id)
);
create index memberships_person on memberships (person_id);
call isolate('memberships');

create table invitations (
    id uuid primary key,
    organization_id uuid not null references organizations,
    email text not null,
    role text not null constraint invitations_role check (role in ('owner', 'admin', 'developer', 'viewer')),
    -- SHA-256 of the token in the link.
    token_hash bytea not null constraint invitations_token_key unique,
    invited_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    accepted_at timestamptz,
    revoked_at timestamptz
);
create index invitations_organization on invitations (organization_id, created_at desc);
create unique index invitations_open_email on invitations (organization_id, email)
    where accepted_at is null and revoked_at is null;
call isolate('invitations');

-- Cookies' sessions. The id in the cookie is a bearer secret, so only its hash is kept; pages name a session by `handle`.
create table sessions (
    id_hash bytea primary key,
    handle uuid not null default gen_random_uuid() constraint sessions_handle_key unique,
    person_id uuid references people on delete cascade,
    data jsonb not null,
    ip inet,
    user_agent text not null default '',
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index sessions_person on sessions (person_id);
create index sessions_expiry on sessions (expires_at);
revoke all on sessions from bouncer_app;

-- Failed sign-ins, by account and by address, to slow guessing down.
create table sign_in_failures (
    subject text not null,
    at timestamptz not null default now()
);
create index sign_in_failures_subject on sign_in_failures (subject, at);
revoke all on sign_in_failures from bouncer_app;

-- Append-only: nobody but the owner of the tables could change a row, and a trigger stops even that one.
create table audit_log (
    organization_id uuid not null references organizations,
    seq bigint not null,
    at timestamptz not null,
    actor_id uuid,
    actor text not null,
    action text not null,
    subject text not null,
    subject_name text not null,
    changes jsonb not null,
    ip inet,
    -- SHA-256 over the previous row's hash and this row's text, see domain/src/audit/store.rs.
    hash bytea not null,
    primary key (organization_id, seq)
);
create index audit_log_subject on audit_log (organization_id, subject, seq desc);
call isolate('audit_log');
revoke update, delete, truncate on audit_log from bouncer_app;

create function refuse_change() returns trigger
    language plpgsql
as $$
begin
    raise exception 'the audit log is append-only';
end $$;
create trigger audit_log_append_only before update or delete on audit_log
    for each row execute function refuse_change();
create trigger audit_log_no_truncate before truncate on audit_log
    for each statement execute function refuse_change();
