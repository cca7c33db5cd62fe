-- What is searched for and had no index.

-- Messages that nobody could tell about, to be given up after a day.
create index messages_unknown on messages (status_at) where status = 'unknown';
-- The messages to one number.
create index messages_recipient on messages (organization_id, recipient, id desc) where recipient is not null;

-- Deliveries that were given up, and those of a disabled endpoint that were never attempted.
create index deliveries_ended on deliveries (organization_id, status, id desc) where status in ('failed', 'cancelled');
create index deliveries_never on deliveries (endpoint_id) where status = 'cancelled' and attempt = 0;

-- Ids of calls grow with time, and calls are written in its order: a few numbers for each range of pages find one as
-- well as an entry for each call, and cost a call nothing.
drop index request_log_id;
create index request_log_id on request_log using brin (id) with (pages_per_range = 16, autosummarize = on);
