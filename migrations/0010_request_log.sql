-- A call costs what its row costs, and the entry in a B-tree by key cost more than the row: another page for each key
-- that is in use. A summary of each range of pages finds the calls of a key within a time, and of an id, too: it is a
-- thousandth of the table, and is written when a range is full instead of with each call.
drop index request_log_key;
drop index request_log_id;
create index request_log_ranges on request_log using brin (id, at, key_id uuid_bloom_ops)
    with (pages_per_range = 32, autosummarize = on);
