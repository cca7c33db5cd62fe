-- Few calls are refused. Whoever looks for keys that are refused much need not read the sums of all others.
create index usage_rollups_denied on usage_rollups (organization_id, grain, bucket)
    where outcome <> 'allowed';
