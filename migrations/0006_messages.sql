-- Instances, messages and their queue.

-- One connected WhatsApp number.
create table instances (
    id uuid primary key,
    organization_id uuid not null references organizations,
    name text not null constraint instances_name_length check (char_length(name) between 1 and 80),
    provider text not null constraint instances_provider check (provider in ('sandbox', 'waha', 'cloud_api')),
    -- What may be shown of the provider's settings: base URL, session or phone number id, account id, version.
    settings jsonb not null,
    -- The provider's credentials as one sealed JSON object (domain/src/seal.rs); never shown again.
    credentials text,
    -- Which of them are set: all that may be told.
    credential_names text[] not null default '{}',
    -- The connection as the provider last told it.
    status text not null default 'disconnected' constraint instances_status
        check (status in ('disconnected', 'connecting', 'scan_qr', 'connected', 'failed')),
    -- What the provider said, in its own words.
    status_detail text not null default '',
    status_at timestamptz not null default now(),
    -- When it happened by the provider's clock: what happened earlier and is told later changes nothing.
    told_at timestamptz,
    -- Digits of E.164, once the provider told it.
    phone text,
    created_at timestamptz not null default now(),
    created_by_name text not null,
    -- The same submission of the form twice makes one instance.
    submission uuid,
    version integer not null default 1,
    deleted_at timestamptz,
    constraint instances_submission_key unique (organization_id, submission),
    constraint instances_tenant_key unique (organization_id, id)
);
create unique index instances_name_key on instances (organization_id, lower(name)) where deleted_at is null;
call isolate('instances');

create function notify_instance_changed() returns trigger
    language plpgsql
as $$
begin
    perform pg_notify('bouncer_instances', new.id::text);
    return null;
end $$;
create trigger instances_changed after insert or update on instances
    for each row execute function notify_instance_changed();

-- The queue of one instance: its pace, and when it must be looked at next. Whoever accepts or claims messages of an
-- instance holds this row for the moment, on whatever server: that is what keeps the pace.
create table queues (
    instance_id uuid primary key references instances,
    organization_id uuid not null,
    -- When the queue must be looked at next; null: nothing waits, or what waits is held back until something else
    -- happens. Of a paused queue: when the first message that may leave nevertheless is due.
    next_due timestamptz,
    -- domain::throttle::Pace: the last slot given away, and messages since the last batch pause.
    last_slot_at timestamptz,
    in_batch integer not null default 0,
    -- When the last message of the paced number really left.
    last_sent_at timestamptz,
    paused_at timestamptz,
    -- 'person', 'failures' or 'session'.
    paused_by text,
    paused_reason text not null default '',
    failures_in_a_row integer not null default 0,
    -- Rows of this instance in the outbox; kept by the triggers on it, so that nobody has to count them.
    waiting bigint not null default 0
);
create index queues_due on queues (next_due) where next_due is not null;
call isolate('queues');

-- Outbound messages, one partition a month (the id is a UUIDv7, so it carries the time).
create table messages (
    id uuid not null,
    organization_id uuid not null,
    instance_id uuid not null,
    -- Null: sent from the console.
    key_id uuid,
    environment text not null,
    -- Digits of E.164; null once erased.
    recipient text,
    kind text not null,
    template_name text,
    template_language text,
    -- domain::messages::Body as JSON; null once erased.
    body jsonb,
    status text not null,
    -- Grows with each step: a status only moves forward.
    status_rank smallint not null,
    status_at timestamptz not null,
    accepted_at timestamptz not null,
    -- When it was to leave, and when it left.
    slot_at timestamptz not null,
    sent_at timestamptz,
    -- The id under which the provider knows it.
    provider_message_id text,
    -- When it failed: the provider's code or ours, and a sentence.
    error_code text,
    error_message text,
    -- The provider's pricing object, once.
    pricing jsonb,
    -- The call that accepted it.
    request_id uuid,
    primary key (id)
) partition by range (id);
create table messages_rest partition of messages default;
create index messages_organization on messages (organization_id, id desc);
create index messages_key on messages (organization_id, key_id, id desc);
create index messages_provider on messages (instance_id, provider_message_id) where provider_message_id is not null;
call isolate('messages');
revoke all on messages_rest from bouncer_app;

-- The timeline of a message.
create table message_steps (
    message_id uuid not null,
    organization_id uuid not null,
    at timestamptz not null,
    status text not null,
    -- The provider's code, the reason of a wait, who cancelled.
    detail text not null default ''
) partition by range (message_id);
create table message_steps_rest partition of message_steps default;
create index message_steps_message on message_steps (message_id, at);
call isolate('message_steps');
revoke all on message_steps_rest from bouncer_app;

-- What is still to be sent. A row leaves when its message has left, failed, was cancelled or expired.
create table outbox (
    message_id uuid primary key,
    organization_id uuid not null,
    instance_id uuid not null,
    key_id uuid,
    -- 'test' goes to the sandbox, whatever the instance.
    environment text not null constraint outbox_environment check (environment in ('live', 'test')),
    -- Order of acceptance within the instance.
    seq bigint generated always as identity,
    recipient text not null,
    -- 'queued': waits. 'sending': a server has it. 'unknown': it may have left; being found out.
    state text not null default 'queued' constraint outbox_state check (state in ('queued', 'sending', 'unknown')),
    due timestamptz not null,
    -- Least distance to the message before it on this instance, in milliseconds; 0: not paced.
    gap_ms integer not null,
    -- What waits for what: 0 paced, one at a time; 1 not paced; 2 test messages, which a lost session does not hold up.
    lane smallint not null generated always as (case when environment = 'test' then 2 when gap_ms > 0 then 0 else 1 end) stored,
    -- How often it was begun, and how often the provider certainly did not take it.
    attempt integer not null default 0,
    retries integer not null default 0,
    -- The server that has it, and until when it is believed to live. Of an 'unknown' one: when to ask about it next.
    server_id uuid,
    lease_until timestamptz,
    -- Since when it is 'unknown'.
    unknown_at timestamptz,
    expires_at timestamptz not null
) with (fillfactor = 70);
create index outbox_queue on outbox (instance_id, lane, due, seq) where state = 'queued';
create index outbox_busy on outbox (instance_id, lane) where state = 'sending';
create index outbox_recipient on outbox (instance_id, recipient, seq);
create index outbox_key on outbox (key_id, instance_id);
create index outbox_lease on outbox (lease_until) where state <> 'queued';
create index outbox_expiry on outbox (expires_at);
call isolate('outbox');

-- Whoever changes the outbox of an instance holds its row of `queues` already.
create function count_outbox() returns trigger
    language plpgsql
as $$
begin
    if tg_op = 'INSERT' then
        update queues q set waiting = q.waiting + n.rows
        from (select instance_id, count(*) as rows from changed group by instance_id) n
        where q.instance_id = n.instance_id;
    else
        update queues q set waiting = q.waiting - n.rows
        from (select instance_id, count(*) as rows from changed group by instance_id) n
        where q.instance_id = n.instance_id;
    end if;
    return null;
end $$;
create trigger outbox_grows after insert on outbox
    referencing new table as changed for each statement execute function count_outbox();
create trigger outbox_shrinks after delete on outbox
    referencing old table as changed for each statement execute function count_outbox();

-- What the sandbox will say about a message, and when.
create table sandbox_statuses (
    message_id uuid not null,
    instance_id uuid not null,
    status text not null,
    due timestamptz not null,
    error_code text,
    error_message text,
    primary key (message_id, status)
);
create index sandbox_statuses_due on sandbox_statuses (due);
revoke all on sandbox_statuses from bouncer_app;

-- What a provider said about a message before its own answer to the sending was written down here.
create table early_statuses (
    id bigint generated always as identity primary key,
    instance_id uuid not null,
    provider_message_id text not null,
    -- domain::messages::StatusUpdate as JSON.
    update jsonb not null,
    at timestamptz not null default now()
);
create index early_statuses_message on early_statuses (instance_id, provider_message_id);
create index early_statuses_age on early_statuses (at);
revoke all on early_statuses from bouncer_app;

-- Answers kept for 24 hours, so that a repeated call gets the first one's answer.
create table idempotency_keys (
    organization_id uuid not null,
    environment text not null,
    idempotency_key text not null,
    -- SHA-256 of method, path, calling key and body.
    fingerprint bytea not null,
    -- Null while the first call is still running.
    status smallint,
    answer text,
    created_at timestamptz not null default now(),
    -- A call that died leaves a row without answer; after this it may be tried again.
    locked_until timestamptz not null,
    primary key (organization_id, environment, idempotency_key)
);
create index idempotency_keys_age on idempotency_keys (created_at);
call isolate('idempotency_keys');

-- Who talks to a contact on an instance: the bot or a person.
create table conversations (
    id uuid primary key,
    organization_id uuid not null,
    instance_id uuid not null,
    -- Digits of E.164 of the other side.
    contact text not null,
    contact_name text not null default '',
    state text not null default 'bot' constraint conversations_state check (state in ('bot', 'human')),
    assignee text,
    -- When a human conversation returns to the bot by itself.
    until timestamptz,
    last_inbound_at timestamptz,
    last_outbound_at timestamptz,
    changed_at timestamptz not null default now(),
    version integer not null default 1,
    constraint conversations_contact_key unique (organization_id, instance_id, contact),
    foreign key (organization_id, instance_id) references instances (organization_id, id)
);
create index conversations_changed on conversations (organization_id, changed_at desc, id desc);
call isolate('conversations');

-- What people wrote to us.
create table inbound_messages (
    id uuid not null,
    organization_id uuid not null,
    instance_id uuid not null,
    conversation_id uuid not null,
    provider_message_id text not null,
    sender text not null,
    kind text not null,
    body jsonb not null,
    at timestamptz not null,
    primary key (id),
    -- Providers repeat themselves.
    constraint inbound_messages_once unique (instance_id, provider_message_id)
);
create index inbound_messages_conversation on inbound_messages (organization_id, conversation_id, id desc);
call isolate('inbound_messages');

-- Templates as the provider lists them, and those made for the sandbox.
create table templates (
    id uuid primary key,
    organization_id uuid not null,
    instance_id uuid not null,
    -- The provider's own id.
    provider_id text,
    name text not null,
    language text not null,
    category text not null,
    previous_category text,
    -- The provider's word, such as APPROVED.
    status text not null,
    parameter_format text not null default 'POSITIONAL',
    components jsonb not null,
    synced_at timestamptz not null default now(),
    deleted_at timestamptz,
    constraint templates_name_key unique (instance_id, name, language),
    foreign key (organization_id, instance_id) references instances (organization_id, id)
);
create index templates_organization on templates (organization_id, name, language);
call isolate('templates');
