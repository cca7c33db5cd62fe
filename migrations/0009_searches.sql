-- What is searched for and had no index, and what costs less.

-- Messages that left the outbox without anybody knowing whether they arrived; they count as failed when nobody has
-- confirmed them by then. (No index over the status of messages: it would have to learn of each step of each message.)
create table unconfirmed (
    message_id uuid primary key,
    organization_id uuid not null,
    until timestamptz not null
);
create index unconfirmed_until on unconfirmed (until);
call isolate('unconfirmed');

-- The messages to one number.
create index messages_recipient on messages (organization_id, recipient, id desc) where recipient is not null;

-- Deliveries that were given up, and those of a disabled endpoint that were never attempted.
create index deliveries_ended on deliveries (organization_id, status, id desc) where status in ('failed', 'cancelled');
create index deliveries_never on deliveries (endpoint_id) where status = 'cancelled' and attempt = 0;

-- The answer is written over the claim that the same transaction made: with room on its page no index learns of it.
alter table idempotency_keys set (fillfactor = 60);

-- Ids of calls grow with time, and calls are written in its order: a few numbers for each range of pages find one as
-- well as an entry for each call, and cost a call nothing.
drop index request_log_id;
create index request_log_id on request_log using brin (id) with (pages_per_range = 16, autosummarize = on);
