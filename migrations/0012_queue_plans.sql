-- Statistics of a queue are often taken while it is empty, and then every index costs the planner the same: it looked for
-- earlier messages to a recipient through the index by key, which holds the whole queue, a hundred times slower than by
-- the index by recipient. An index of what has a key cannot be taken for that.
drop index outbox_key;
create index outbox_key on outbox (key_id, instance_id) where key_id is not null;
