-- no-transaction
-- The migration before rewrote the table, which nothing vacuums or analyzes for it.
vacuum (analyze) api_keys;
