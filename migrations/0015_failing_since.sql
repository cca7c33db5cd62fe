-- An endpoint is disabled for how long it has failed, however often: nobody asks for the number any more.
alter table webhook_endpoints drop column failures;
