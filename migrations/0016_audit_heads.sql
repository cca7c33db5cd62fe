-- Where each organization's audit log ends. The chain shows what was changed or taken out of its middle; this shows that
-- rows at its end, or all of them, are gone.
create table audit_heads (
    organization_id uuid primary key references organizations,
    seq bigint not null,
    hash bytea not null
);
insert into audit_heads
select distinct on (organization_id) organization_id, seq, hash from audit_log order by organization_id, seq desc;
call isolate('audit_heads');
revoke delete, truncate on audit_heads from bouncer_app;
