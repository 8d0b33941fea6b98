-- Every sale deletes a row at the front of an index. Whoever looks for the next one steps over what is dead
-- there until it is cleaned away, and by default that is only when a fifth of the table has gone.
ALTER TABLE stock SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
