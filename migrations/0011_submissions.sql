-- The same call with an Idempotency-Key makes one endpoint, even when its first answer was never kept.
alter table webhook_endpoints
    add column submission uuid,
    add constraint webhook_endpoints_submission_key unique (organization_id, submission);
