-- Whether a lost connection may come back by itself: it was connected once, and nobody has ended it since. Otherwise only
-- somebody connects it.
alter table instances add column wanted boolean not null default false;
-- Of those that are disconnected, the ones whose provider said so were lost: what people do leaves these words.
update instances set wanted = true
where deleted_at is null and (status <> 'disconnected' or status_detail not in ('', 'stopped', 'logged out'));

-- How often in a row sending found the number lost, since a message last left: each time its provider is asked later
-- whether it is back.
alter table queues add column losses integer not null default 0;
