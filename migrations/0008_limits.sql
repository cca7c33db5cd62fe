-- What Meta asks of a number's traffic, and when its templates were last asked for.

-- When live messages of a Cloud API number were last begun, oldest first: those of one second, at most 80.
alter table queues add column begun timestamptz[] not null default '{}';

-- When the templates of a Cloud API number were last asked for; null: never.
alter table instances add column templates_asked_at timestamptz;
create index instances_templates on instances (templates_asked_at nulls first, id)
    where provider = 'cloud_api' and deleted_at is null;
