-- Each message passes through `sending`, few are ever `unknown`: who asks for those read past the remains of all others.
drop index outbox_lease;
create index outbox_lease on outbox (lease_until) where state = 'sending';
create index outbox_unknown on outbox (lease_until) where state = 'unknown';
